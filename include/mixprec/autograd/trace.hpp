// SPDX-License-Identifier: Apache-2.0
// The session of the Meta backend: records rows and replays, in the compiler, when memory is taken and given back.
#pragma once

#include <cstdint>

#include <mixprec/autograd/forward_state.hpp>
#include <mixprec/autograd/parameter.hpp>
#include <mixprec/autograd/row.hpp>
#include <mixprec/autograd/sequence.hpp>
#include <mixprec/backend/arena.hpp>
#include <mixprec/backend/meta.hpp>
#include <mixprec/tensor/tensor.hpp>

namespace mixprec::inline MIXPREC_ABI {

template <class B>
class Session;

/// How often and in which dtype a forward pass reads a parameter.
struct ParameterUse {
  DType dtype = DType::float32;
  int count = 0;
};

/// What the first op that does not fit says.
struct TraceMismatch {
  Place place;
  char const* op = nullptr;
  char const* what = nullptr;
  std::int64_t expected = 0, received = 0;
};

/// Counted reference to a block that exists as a number of bytes only. Mirrors Storage, so that lifetimes in the
/// trace are the lifetimes of the same C++ objects at run time.
template <>
class Storage<Meta> {
 public:
  constexpr Storage() = default;
  constexpr Storage(Session<Meta>& session, std::int64_t bytes);
  constexpr Storage(Storage const& other);
  constexpr Storage(Storage&& other) noexcept : session_(other.session_), id_(other.id_) { other.id_ = -1; }
  constexpr Storage& operator=(Storage other) noexcept {
    Session<Meta>* const session = session_;
    int const id = id_;
    session_ = other.session_, id_ = other.id_;
    other.session_ = session, other.id_ = id;
    return *this;
  }
  constexpr ~Storage();
  constexpr int id() const { return id_; }
  constexpr std::int64_t bytes() const;
  constexpr bool keep() const;

 private:
  Session<Meta>* session_ = nullptr;
  int id_ = -1;
};

template <class T, int Rank>
class Tensor<Meta, T, Rank> {
 public:
  using backend = Meta;
  using dtype = T;
  static constexpr int rank = Rank;
  constexpr Tensor() = default;
  constexpr explicit Tensor(Shape<Rank> shape, Storage<Meta> storage = {})
      : shape_(shape), storage_(static_cast<Storage<Meta>&&>(storage)) {}
  constexpr Shape<Rank> const& shape() const { return shape_; }
  constexpr std::int64_t size() const { return shape_.size(); }
  constexpr Storage<Meta> const& storage() const { return storage_; }
  template <int NewRank>
  constexpr Tensor<Meta, T, NewRank> view(Shape<NewRank> shape) const {
    return Tensor<Meta, T, NewRank>(shape, storage_);
  }

 private:
  Shape<Rank> shape_{};
  Storage<Meta> storage_;
};

/// The trace. A forward pass over Meta values fills it; `backward` then replays the tape's memory.
template <>
class Session<Meta> {
 public:
  static constexpr int max_operands = 8;

  constexpr Session() = default;
  Session(Session const&) = delete;
  Session& operator=(Session const&) = delete;
  constexpr ~Session() {
    for (int index = 0; index < nodes_.size(); ++index)
      if (Replay* const block = nodes_[index].replay) block->destroy(block);
  }

  // What apply and modules ask of every session.
  constexpr bool training() const { return state_.training; }
  constexpr bool grad_enabled() const { return state_.grad_enabled; }
  constexpr void set_training(bool training) { state_.training = training; }
  constexpr void set_grad_enabled(bool enabled) { state_.grad_enabled = enabled; }
  constexpr bool replaying() const { return state_.replaying; }
  constexpr ForwardState const& forward_state() const { return state_; }
  constexpr void set_forward_state(ForwardState const& state) { state_ = state; }
  constexpr bool recording() const { return !state_.replaying; }
  constexpr void record(PlanRow const& row) { rows_.push_back(row); }
  constexpr void record_kept(std::int64_t bytes) {
    if (rows_.size() > 0) rows_[rows_.size() - 1].kept_bytes += bytes;
  }
  constexpr GradientSlot new_slot() { return {GradientSlot::Kind::value, slots_.push_back(-1)}; }

  template <class T, int Rank>
  constexpr Tensor<Meta, T, Rank> allocate(Shape<Rank> shape) {
    return Tensor<Meta, T, Rank>(shape, Storage<Meta>(*this, shape.size() * static_cast<std::int64_t>(sizeof(T))));
  }
  template <class T, int Rank>
  constexpr Tensor<Meta, T, Rank> parameter(Parameter<Rank> const& parameter) {
    if (state_.replaying) return Tensor<Meta, T, Rank>(parameter.shape);
    uses_.resize(parameter.id + 1);
    ParameterUse& use = uses_[parameter.id];
    use.dtype = use.count == 0 ? dtype_of_v<T> : promote(use.dtype, dtype_of_v<T>);
    ++use.count;
    return Tensor<Meta, T, Rank>(parameter.shape);
  }
  template <int Rank>
  constexpr void mismatch(Place place, char const* op, Shaped<Rank> const& shaped) {
    if (mismatch_.what == nullptr) mismatch_ = {place, op, shaped.mismatch, shaped.expected, shaped.received};
  }

  /// A block that backward runs again (autograd/recompute.hpp). Owned by its node.
  /// Pointers to functions in place of virtual ones, which nvcc 13 cannot evaluate in constant expressions.
  struct Replay {
    GradientSlot (*run)(Replay& self,
                        Session& session);  // puts the block's nodes on the tape; returns its result's slot
    void (*destroy)(Replay* self);
  };

  /// One node of the tape, as sizes.
  struct Node {
    int result = -1;  // slot
    std::int64_t result_gradient_bytes = 0;
    int operand_count = 0, kept_count = 0;
    GradientSlot operands[max_operands]{};
    std::int64_t gradient_bytes[max_operands]{};
    int kept[max_operands]{};
    Replay* replay = nullptr;
  };
  constexpr void push_node(Node const& node) {
    for (int index = 0; index < node.kept_count; ++index)
      if (node.kept[index] >= 0) ++storages_[node.kept[index]].references;
    nodes_.push_back(node);
  }

  /// Replays backward from `loss`: which gradients are allocated, added and freed, in the tape's order.
  /// `direct(id)` says whether a parameter's gradient is written into its arena or needs a temporary.
  template <class Direct>
  constexpr void backward(int loss, std::int64_t loss_bytes, Direct direct) {
    slots_[loss] = acquire(loss_bytes);
    while (nodes_.size() > 0) {
      Node const& node = nodes_.pop_back();
      if (node.replay != nullptr) {
        replay(node.replay, node.result);
        continue;
      }
      if (slots_[node.result] >= 0) replay_gradients(node, direct);
      for (int kept = 0; kept < node.kept_count; ++kept)
        if (node.kept[kept] >= 0) release(node.kept[kept]);
    }
  }

  constexpr Sequence<PlanRow> const& rows() const { return rows_; }
  constexpr Sequence<ParameterUse> const& uses() const { return uses_; }
  constexpr TraceMismatch const& mismatch() const { return mismatch_; }
  constexpr std::int64_t live() const { return live_; }
  constexpr std::int64_t high_water() const { return high_water_; }

  // Called by Storage.
  constexpr int acquire(std::int64_t bytes) {
    auto const rounded = static_cast<std::int64_t>(arena_rounded(static_cast<std::size_t>(bytes)));
    live_ += rounded;
    if (live_ > high_water_) high_water_ = live_;
    return storages_.push_back({bytes, rounded, 1, false});
  }
  constexpr void retain(int id) { ++storages_[id].references; }
  constexpr void release(int id) {
    if (--storages_[id].references == 0) live_ -= storages_[id].rounded;
  }
  constexpr std::int64_t bytes(int id) const { return storages_[id].bytes; }
  constexpr bool keep(int id) {
    bool const first = !storages_[id].kept;
    storages_[id].kept = true;
    return first;
  }

 private:
  struct Block {
    std::int64_t bytes = 0, rounded = 0;
    int references = 0;
    bool kept = false;
  };

  template <class Direct>
  constexpr void replay_gradients(Node const& node, Direct direct) {
    int temporaries[max_operands];
    for (int operand = 0; operand < node.operand_count; ++operand) {
      GradientSlot const slot = node.operands[operand];
      temporaries[operand] = -1;
      if (slot.kind == GradientSlot::Kind::value && slots_[slot.index] < 0) {
        slots_[slot.index] = acquire(node.gradient_bytes[operand]);
      } else if (slot.kind == GradientSlot::Kind::value ||
                 (slot.kind == GradientSlot::Kind::parameter && !direct(slot.index))) {
        temporaries[operand] = acquire(node.gradient_bytes[operand]);
      }
    }
    for (int operand = 0; operand < node.operand_count; ++operand)
      if (temporaries[operand] >= 0) release(temporaries[operand]);
    release(slots_[node.result]);
    slots_[node.result] = -1;
  }
  constexpr void replay(Replay* block, int result) {
    int const gradient = slots_[result];
    if (gradient >= 0) {
      slots_[result] = -1;
      GradientSlot const inner = block->run(*block, *this);
      if (inner.needed() && slots_[inner.index] < 0) {
        slots_[inner.index] = gradient;
      } else {
        release(gradient);
      }
    }
    block->destroy(block);
  }

  Sequence<PlanRow> rows_;
  Sequence<Node> nodes_;
  Sequence<Block> storages_;
  Sequence<int> slots_;  // the storage of each value's gradient while it lives
  Sequence<ParameterUse> uses_;
  TraceMismatch mismatch_;
  std::int64_t live_ = 0, high_water_ = 0;
  ForwardState state_;
};

using Trace = Session<Meta>;

constexpr Storage<Meta>::Storage(Session<Meta>& session, std::int64_t bytes)
    : session_(&session), id_(session.acquire(bytes)) {}
constexpr Storage<Meta>::Storage(Storage const& other) : session_(other.session_), id_(other.id_) {
  if (id_ >= 0) session_->retain(id_);
}
constexpr Storage<Meta>::~Storage() {
  if (id_ >= 0) session_->release(id_);
}
constexpr std::int64_t Storage<Meta>::bytes() const { return id_ < 0 ? 0 : session_->bytes(id_); }
constexpr bool Storage<Meta>::keep() const { return id_ >= 0 && session_->keep(id_); }

}  // namespace mixprec::inline MIXPREC_ABI
