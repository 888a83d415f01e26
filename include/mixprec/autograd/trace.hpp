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

/// How often and in which dtypes a forward pass reads a parameter.
struct ParameterUse {
  DType dtype = DType::float32;  // the narrowest
  int count = 0;
  DType widest = DType::float32;
  std::int64_t elements = 0;  // where it is read in several dtypes
  bool written = false;       // its gradient, by the backward pass so far

  constexpr void add(DType read, auto const& shape) {
    if (count++ == 0) {
      dtype = widest = read;
      return;
    }
    if (read == dtype && read == widest) return;
    if (size_of(read) < size_of(dtype)) dtype = read;
    if (size_of(read) > size_of(widest)) widest = read;
    elements = shape.size();
  }
  /// The dtype of a read whose operand has `bytes`.
  constexpr DType read_in(std::int64_t bytes) const {
    return bytes == elements * static_cast<std::int64_t>(size_of(widest)) ? widest : dtype;
  }
  /// The dtype of the copy beside the masters; theirs where there is none.
  constexpr DType working(DType master) const { return dtype != master ? dtype : widest; }
  /// Whether its gradient is a sum, which is stored in the accumulator's dtype, and not in that of the copy.
  constexpr bool sums(bool accumulates) const { return accumulates || count > 1; }
};

/// What the first op that does not fit says.
struct TraceMismatch : Misfit {
  Place place;
  char const* op = nullptr;
};

/// A parameter that an op reads and that the model's walk over its members has not met.
struct UnlistedParameter {
  char const* op = nullptr;  // that reads it; null: there is none
  Place operand;             // of the value that the op reads beside it
  int rank = 0;
  std::int64_t extents[4]{};

  constexpr UnlistedParameter() = default;
  template <int Rank>
  constexpr UnlistedParameter(char const* by, Place beside, Shape<Rank> const& shape)
      : op(by), operand(beside), rank(Rank) {
    for (int axis = 0; axis < Rank; ++axis) extents[axis] = shape[axis];
  }
};

// Where g++ inlines references to one block into each other, it takes the last one's delete for one before them all.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wuse-after-free"
#endif

/// Counted reference to a block that exists as a number of bytes only. Mirrors Storage, so that lifetimes in the
/// trace are the lifetimes of the same C++ objects at run time.
template <>
class Storage<Meta> {
 public:
  constexpr Storage() = default;
  constexpr Storage(Session<Meta>& session, std::int64_t bytes);
  constexpr Storage(Storage const& other) : block_(other.block_) {
    if (block_ != nullptr) ++block_->references;
  }
  constexpr Storage(Storage&& other) noexcept : block_(other.block_) { other.block_ = nullptr; }
  constexpr Storage& operator=(Storage other) noexcept {
    Block* const block = block_;
    block_ = other.block_, other.block_ = block;
    return *this;
  }
  constexpr ~Storage() {
    if (block_ != nullptr && --block_->references == 0) free();
  }
  constexpr std::int64_t keep() const {
    return block_ == nullptr || block_->kept ? 0 : (block_->kept = true, block_->bytes);
  }
  /// True where the block has a recipe at run time, so that backward does not keep it.
  constexpr bool has_recipe() const { return recipe_depth() != 0; }
  /// Recipe::depth; 0: the block has none.
  constexpr int recipe_depth() const { return block_ == nullptr ? 0 : block_->recipe_depth; }
  /// What is live while the recipe runs, in rounded bytes, beside the block.
  constexpr std::int64_t recipe_bytes() const { return block_->recipe_bytes; }
  constexpr void set_recipe(int depth, std::int64_t bytes) const {
    block_->recipe_depth = depth, block_->recipe_bytes = bytes;
  }
  constexpr std::int64_t rounded() const { return block_->rounded; }
  constexpr std::int64_t bytes() const { return block_->bytes; }

 private:
  struct Block {
    Session<Meta>* session;
    std::int64_t bytes, rounded;
    std::int64_t recipe_bytes;
    int references, recipe_depth;
    bool kept;
  };
  constexpr void free();
  Block* block_ = nullptr;
};
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic pop
#endif

template <class T, int Rank>
class Tensor<Meta, T, Rank> {
 public:
  using backend = Meta;
  using dtype = T;
  static constexpr int rank = Rank;
  constexpr Tensor() = default;
  constexpr explicit Tensor(Shape<Rank> const& shape) : shape_(shape) {}
  constexpr Tensor(Session<Meta>& session, Shape<Rank> const& shape)
      : shape_(shape), storage_(session, shape.size() * static_cast<std::int64_t>(sizeof(T))) {}
  constexpr Tensor(Shape<Rank> const& shape, Storage<Meta> const& storage) : shape_(shape), storage_(storage) {}
  constexpr Shape<Rank> const& shape() const { return shape_; }
  constexpr std::int64_t size() const { return shape_.size(); }
  constexpr Storage<Meta> const& storage() const { return storage_; }
  template <int NewRank>
  constexpr Tensor<Meta, T, NewRank> view(Shape<NewRank> shape) const {
    return Tensor<Meta, T, NewRank>(shape, storage_);
  }
  constexpr Tensor columns(std::int64_t, Shape<Rank> const& shape) const { return Tensor(shape, storage_); }

 private:
  Shape<Rank> shape_{};
  Storage<Meta> storage_;
};

/// A tensor without memory, as which the trace sees every parameter.
template <class T, int Rank>
inline constexpr Tensor<Meta, T, Rank> traced_parameter{};

/// The trace. A forward pass over Meta values fills it; `backward` then replays the tape's memory.
template <>
class Session<Meta> {
 public:
  constexpr Session() = default;
  Session(Session const&) = delete;
  Session& operator=(Session const&) = delete;
  constexpr ~Session() {
    while (Node* const node = tape_) {
      tape_ = node->before;
      node->destroy(node);
    }
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
  constexpr GradientSlot new_slot() { return {GradientSlot::Kind::value, gradients_.push_back(0)}; }

  template <class T, int Rank>
  constexpr Tensor<Meta, T, Rank> allocate(Shape<Rank> const& shape) {
    return Tensor<Meta, T, Rank>(*this, shape);
  }
  template <class T, int Rank>
  constexpr Tensor<Meta, T, Rank> const& parameter(Parameter<Rank> const& parameter) {
    if (parameter.id >= 0 && !state_.replaying) {
      uses_.resize(parameter.id + 1);
      uses_[parameter.id].add(dtype_of_v<T>, parameter.shape);
    }
    return traced_parameter<T, Rank>;
  }
  constexpr void mismatch(Place place, char const* op, Misfit const& misfit) {
    if (mismatch_.fits()) mismatch_ = {misfit, place, op};
  }
  constexpr void unlisted(UnlistedParameter const& parameter) {
    if (unlisted_.op == nullptr) unlisted_ = parameter;
  }

  /// What backward visits. Pointers to functions in place of virtual ones, which nvcc 13 cannot evaluate in constant
  /// expressions.
  struct Node {
    void (*run)(Node& self, Session& session);
    void (*destroy)(Node* self);
    Node* before = nullptr;
  };
  /// Takes a node that `new` has made.
  constexpr void push_node(Node* node) { node->before = tape_, tape_ = node; }

  /// Replays backward from `loss`: which gradients are allocated, added and freed, in the tape's order.
  constexpr void backward(GradientSlot loss, std::int64_t loss_bytes, bool accumulates) {
    accumulates_ = accumulates;
    gradients_[loss.index] = acquire(loss_bytes);
    while (Node* const node = tape_) {
      tape_ = node->before;
      node->run(*node, *this);
      node->destroy(node);
    }
  }

  constexpr Sequence<PlanRow> const& rows() const { return rows_; }
  constexpr Sequence<ParameterUse> const& uses() const { return uses_; }
  constexpr TraceMismatch const& mismatch() const { return mismatch_; }
  constexpr UnlistedParameter const& unlisted() const { return unlisted_; }
  constexpr std::int64_t live() const { return live_; }
  constexpr std::int64_t high_water() const { return high_water_; }

  // Called by storages and nodes. Gradients are rounded bytes; 0 where none has arrived.
  constexpr std::int64_t acquire(std::int64_t bytes) {
    auto const rounded = static_cast<std::int64_t>(arena_rounded(static_cast<std::size_t>(bytes)));
    if ((live_ += rounded) > high_water_) high_water_ = live_;
    return rounded;
  }
  constexpr void release(std::int64_t rounded) { live_ -= rounded; }
  constexpr std::int64_t take_gradient(GradientSlot slot) {
    std::int64_t const gradient = gradients_[slot.index];
    gradients_[slot.index] = 0;
    return gradient;
  }
  /// A gradient whose bytes another slot counts.
  static constexpr std::int64_t shared_gradient = -1;
  constexpr void give_gradient(GradientSlot slot, std::int64_t gradient) {
    if (slot.needed() && gradients_[slot.index] == 0) {
      gradients_[slot.index] = gradient;
    } else {
      release(gradient);
    }
  }
  /// Memory for the gradient of one operand. Returns what is temporary in it: all where it is added to another.
  constexpr std::int64_t begin_gradient(GradientSlot slot, std::int64_t bytes) {
    if (slot.kind == GradientSlot::Kind::parameter) return write(uses_[slot.index], bytes) ? 0 : acquire(bytes);
    if (!slot.needed()) return 0;
    std::int64_t& gradient = gradients_[slot.index];
    return gradient != 0 ? acquire(bytes) : (gradient = acquire(bytes), 0);
  }

 private:
  /// True where a parameter's gradient is written where it belongs: the first, where it has the dtype of them all. With
  /// accumulation the peak is that of the later passes, which write none there.
  constexpr bool write(ParameterUse& use, std::int64_t bytes) const {
    if (use.count == 1 && !accumulates_) return true;
    if (use.written || accumulates_) return false;
    use.written = true;
    return use.read_in(bytes) == accumulator_of(use.dtype);
  }

  Sequence<PlanRow> rows_;
  Node* tape_ = nullptr;  // the last one
  Sequence<std::int64_t> gradients_;
  Sequence<ParameterUse> uses_;
  TraceMismatch mismatch_;
  UnlistedParameter unlisted_;
  std::int64_t live_ = 0, high_water_ = 0;
  ForwardState state_;
  bool accumulates_ = false;
};

using Trace = Session<Meta>;

constexpr Storage<Meta>::Storage(Session<Meta>& session, std::int64_t bytes)
    : block_(new Block{&session, bytes, session.acquire(bytes), 0, 1, 0, false}) {}
constexpr void Storage<Meta>::free() {
  block_->session->release(block_->rounded);
  delete block_;
}

namespace detail {

/// Memory that an op keeps. It stands below the op on the tape, so that backward lets go of it behind the op. Not in
/// the op's node: with an array of storages there, nvcc 13 reported blocks that were not freed.
struct KeptNode : Trace::Node {
  Storage<Meta> storage;

  static constexpr void run_node(Trace::Node&, Trace&) {}
  static constexpr void destroy_node(Trace::Node* self) { delete static_cast<KeptNode*>(self); }
};

/// An operand's gradient, as a size.
struct TracedOperand {
  GradientSlot slot;
  std::int64_t bytes;
};

/// An op on the trace's tape.
template <int Operands>
struct TraceNode : Trace::Node {
  GradientSlot slot;
  TracedOperand operands[Operands];

  static constexpr void run_node(Trace::Node& self, Trace& session) {
    auto& node = static_cast<TraceNode&>(self);
    std::int64_t temporary = session.take_gradient(node.slot);
    if (temporary == 0) return;  // nothing that the loss depends on
    if (temporary == Trace::shared_gradient) temporary = 0;
    for (int at = 0; at < Operands; ++at)
      temporary += session.begin_gradient(node.operands[at].slot, node.operands[at].bytes);
    session.release(temporary);
  }
  static constexpr void destroy_node(Trace::Node* self) { delete static_cast<TraceNode*>(self); }
};

/// An operand that is computed again, and what is live beside it for that time: rounded bytes, 0 for none.
struct TracedRecipe {
  std::int64_t bytes, beside;
};

/// An op that computes operands again before it reads them (RecomputeNorms).
template <int Operands>
struct AgainTraceNode : TraceNode<Operands> {
  TracedRecipe again[Operands];

  static constexpr void run_node(Trace::Node& self, Trace& session) {
    auto& node = static_cast<AgainTraceNode&>(self);
    std::int64_t const gradient = session.take_gradient(node.slot);
    if (gradient == 0) return;
    session.give_gradient(node.slot, gradient);
    std::int64_t recomputed = 0;
    for (TracedRecipe const& recipe : node.again) {
      if (recipe.bytes == 0) continue;
      recomputed += session.acquire(recipe.bytes);
      session.release(session.acquire(recipe.beside));
    }
    TraceNode<Operands>::run_node(self, session);
    session.release(recomputed);
  }
  static constexpr void destroy_node(Trace::Node* self) { delete static_cast<AgainTraceNode*>(self); }
};

/// An op that hands its result's gradient on to those operands in `joined`, which lie in its memory. The first of them
/// ran first, so that backward reaches it last and frees it there.
template <int Operands>
struct HandingTraceNode : TraceNode<Operands> {
  unsigned joined;

  static constexpr void run_node(Trace::Node& self, Trace& session) {
    auto& node = static_cast<HandingTraceNode&>(self);
    std::int64_t gradient = session.take_gradient(node.slot), temporary = 0;
    if (gradient == 0) return;
    for (int at = 0; at < Operands; ++at) {
      GradientSlot const slot = node.operands[at].slot;
      if ((node.joined >> at & 1u) == 0) {
        temporary += session.begin_gradient(slot, node.operands[at].bytes);
      } else if (slot.needed()) {
        session.give_gradient(slot, gradient);
        gradient = Trace::shared_gradient;
      }
    }
    session.release(temporary + (gradient == Trace::shared_gradient ? 0 : gradient));
  }
  static constexpr void destroy_node(Trace::Node* self) { delete static_cast<HandingTraceNode*>(self); }
};

}  // namespace detail

}  // namespace mixprec::inline MIXPREC_ABI
