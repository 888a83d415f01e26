// SPDX-License-Identifier: Apache-2.0
// Tensors: typed dtype, rank and backend; run-time extents; shared ownership of backend memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>  // std::exchange
#include <vector>

#include <mixprec/backend/arena.hpp>
#include <mixprec/dtype/dtype.hpp>
#include <mixprec/error.hpp>
#include <mixprec/tensor/shape.hpp>

namespace mixprec::inline MIXPREC_ABI {

template <class B>
class Session;

/// Computes again what a block held, bit for bit, in the pass that made it: later the parameters are others.
template <class B>
struct Recipe {
  Session<B> const* session;
  std::uint64_t tape;  // Session::tape() of that pass
  int depth = 1;       // the blocks that are computed again to give this one, itself counted

  Recipe(Session<B> const* the_session, std::uint64_t the_tape) : session(the_session), tape(the_tape) {}
  virtual ~Recipe() = default;
  virtual void run(Session<B>& session, void* to) const = 0;
};

/// Shared ownership of one arena block. Counted without atomics: a storage belongs to one thread.
template <class B>
class Storage {
 public:
  constexpr Storage() = default;
  Storage(Arena<B>& arena, std::size_t bytes) : block_(new Block{&arena, arena.allocate(bytes), bytes, 1, false}) {}
  Storage(Storage const& other) : block_(other.block_) {
    if (block_ != nullptr) ++block_->references;
  }
  Storage(Storage&& other) noexcept : block_(std::exchange(other.block_, nullptr)) {}
  Storage& operator=(Storage other) noexcept {
    std::swap(block_, other.block_);
    return *this;
  }
  ~Storage() {
    if (block_ != nullptr && --block_->references == 0) free(block_);
  }

  explicit operator bool() const { return block_ != nullptr; }
  void* data() const { return block_ == nullptr ? nullptr : block_->memory; }
  std::size_t bytes() const { return block_ == nullptr ? 0 : block_->bytes; }
  /// How to compute the block again; null where it cannot be. Backward then keeps the recipe in place of the block. The
  /// tape's nodes own it, so that who holds the block longer does not hold the recipe's operands.
  std::shared_ptr<Recipe<B> const> recipe() const { return block_ == nullptr ? nullptr : block_->recipe.lock(); }
  void set_recipe(std::shared_ptr<Recipe<B> const> const& recipe) const { block_->recipe = recipe; }
  /// Marks the block as kept for backward. Returns its bytes the first time, then 0, so that they are counted once.
  std::size_t keep() const { return block_ == nullptr || std::exchange(block_->kept, true) ? 0 : block_->bytes; }

 private:
  struct Block {
    Arena<B>* arena;
    void* memory;
    std::size_t bytes;
    int references;
    bool kept;
    std::weak_ptr<Recipe<B> const> recipe = {};
  };
  // Out of line, because GCC 12 follows the inlined counter past its own check and warns of a use after the delete.
  [[gnu::noinline]] static void free(Block* block) {
    block->arena->release(block->memory);
    delete block;
  }
  Block* block_ = nullptr;
};

/// A tensor of `T` on backend `B`. Copies share memory. Rank 4 is (N,C,H,W) in logic and NHWC in memory. A tensor that
/// was moved from is as a new one: without memory, its extents 0.
template <class B, class T, int Rank>
class Tensor {
 public:
  using backend = B;
  using dtype = T;
  static constexpr int rank = Rank;

  constexpr Tensor() = default;
  /// Uninitialised memory from `arena`.
  Tensor(Arena<B>& arena, Shape<Rank> shape)
      : shape_(shape), storage_(arena, static_cast<std::size_t>(shape.size()) * sizeof(T)) {
    data_ = static_cast<T*>(storage_.data());
  }
  /// A part of `storage` that starts at `data`.
  Tensor(Storage<B> storage, T* data, Shape<Rank> shape) : shape_(shape), storage_(std::move(storage)), data_(data) {}
  Tensor(Tensor const&) = default;
  Tensor& operator=(Tensor const&) = default;
  // Written out, because a defaulted move would leave the address of memory that may be another tensor's by then.
  constexpr Tensor(Tensor&& other) noexcept
      : shape_(std::exchange(other.shape_, {})),
        storage_(std::move(other.storage_)),
        data_(std::exchange(other.data_, nullptr)) {}
  constexpr Tensor& operator=(Tensor&& other) noexcept {
    shape_ = std::exchange(other.shape_, {});
    storage_ = std::move(other.storage_);
    data_ = std::exchange(other.data_, nullptr);
    return *this;
  }

  T* data() const { return data_; }
  constexpr Shape<Rank> const& shape() const { return shape_; }
  std::int64_t size() const { return shape_.size(); }
  std::size_t bytes() const { return static_cast<std::size_t>(size()) * sizeof(T); }
  explicit operator bool() const { return data_ != nullptr; }
  Storage<B> const& storage() const { return storage_; }

  /// The same memory under another shape of the same size. Errors: Error for another size.
  template <int NewRank>
  Tensor<B, T, NewRank> view(Shape<NewRank> shape) const {
    if (shape.size() != size())
      throw Error("view: " + std::to_string(size()) + " elements do not fit a shape of " +
                  std::to_string(shape.size()) + ". Give a shape of the same size.");
    return {storage_, data_, shape};
  }
  /// Channels from `first` on, in place: pixels (rows, at rank 2) stay as far apart as this tensor's. Only for ops that
  /// take such a stride.
  Tensor columns(std::int64_t first, Shape<Rank> shape) const { return {storage_, data_ + first, shape}; }

 private:
  Shape<Rank> shape_{};
  Storage<B> storage_;
  T* data_ = nullptr;
};

/// Copies host values in memory order into a tensor. Errors: Error where the counts differ. Sync: waits.
template <class B, class T, int Rank>
void copy_from_host(typename B::Stream& stream, Tensor<B, T, Rank> const& to, T const* values, std::size_t count) {
  if (count != static_cast<std::size_t>(to.size())) {
    throw Error("copy_from_host: " + std::to_string(count) + " values for a tensor of shape " + to_string(to.shape()) +
                ". Give one value for each element.");
  }
  B::copy_from_host(stream, to.data(), values, to.bytes());
}

/// A tensor's values in memory order. Sync: waits.
template <class B, class T, int Rank>
std::vector<T> to_host(typename B::Stream& stream, Tensor<B, T, Rank> const& from) {
  std::vector<T> values(static_cast<std::size_t>(from.size()));
  B::copy_to_host(stream, values.data(), from.data(), from.bytes());
  return values;
}

}  // namespace mixprec::inline MIXPREC_ABI
