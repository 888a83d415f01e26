// SPDX-License-Identifier: Apache-2.0
// A block whose inside is not kept for backward but computed again. The second run is the first one's twin: the same
// random numbers, no row in the plan, no step of the running statistics.
#pragma once

#include <memory>
#include <type_traits>
#include <utility>

#include <mixprec/autograd/session.hpp>
#include <mixprec/autograd/trace.hpp>
#include <mixprec/autograd/value.hpp>

namespace mixprec::inline MIXPREC_ABI {

namespace detail {

/// While it lives, nothing is kept for backward.
template <class B>
class WithoutTape {
 public:
  constexpr explicit WithoutTape(Session<B>& session) : session_(session) { session_.set_grad_enabled(false); }
  WithoutTape(WithoutTape const&) = delete;
  WithoutTape& operator=(WithoutTape const&) = delete;
  constexpr ~WithoutTape() { session_.set_grad_enabled(true); }

 private:
  Session<B>& session_;
};

/// While it lives, the session is where it was before the block's first run, except that this is the second.
template <class B>
class SecondRun {
 public:
  constexpr SecondRun(Session<B>& session, ForwardState state) : session_(session), now_(session.forward_state()) {
    state.replaying = true;
    session_.set_forward_state(state);
  }
  SecondRun(SecondRun const&) = delete;
  SecondRun& operator=(SecondRun const&) = delete;
  constexpr ~SecondRun() { session_.set_forward_state(now_); }

 private:
  Session<B>& session_;
  ForwardState now_;
};

/// Backward of a block: runs it again on the tape. Session::backward then goes on with the nodes that this leaves
/// there.
template <class B, class Block, class X, class Y>
struct RecomputeNode final : TapeNode<B> {
  RecomputeNode(Block const& the_block, X const& input, ForwardState const& before, GradientSlot result,
                Shape<Y::rank> extents)
      : block(the_block), x(input), state(before), slot(result), shape(extents) {}

  void backward(Session<B>& session) override {
    auto const gradient = session.template take_gradient<typename Y::dtype, Y::rank>(slot, shape);
    if (!gradient) return;  // nothing that the loss depends on
    SecondRun<B> const guard(session, state);
    auto const y = block(x);
    session.give_gradient(y.slot(), gradient);
  }

  Block block;
  X x;
  ForwardState state;
  GradientSlot slot;
  Shape<Y::rank> shape;
};

/// Its twin in the trace, where only memory matters.
template <class Block, class X>
struct RecomputeTraceNode : Trace::Node {
  Block block;
  X x;
  ForwardState state;
  GradientSlot slot;

  static constexpr void run_node(Trace::Node& self, Trace& session) {
    auto const& node = static_cast<RecomputeTraceNode const&>(self);
    std::int64_t const gradient = session.take_gradient(node.slot);
    if (gradient == 0) return;
    SecondRun<Meta> const guard(session, node.state);
    session.give_gradient(node.block(node.x).slot(), gradient);
  }
  static constexpr void destroy_node(Trace::Node* self) { delete static_cast<RecomputeTraceNode*>(self); }
};

}  // namespace detail

/// block(x), of which only x is kept; backward computes the inside again. `block` is copied, takes and returns a Value,
/// and depends on nothing else that needs a gradient but parameters; `trains` says that it reads parameters that do.
/// Results and gradients are those of block(x), bit for bit. In a plan x counts as kept by the block's last row.
template <class Block, class B, class T, int Rank, int Channels, class Policy>
constexpr auto recompute(Block const& block, Value<B, T, Rank, Channels, Policy> const& x, bool trains) {
  using X = Value<B, T, Rank, Channels, Policy>;
  using Y = std::remove_cvref_t<decltype(block(x))>;
  Session<B>& session = x.session();
  if (!session.grad_enabled() || !(trains || x.requires_grad())) return block(x);

  ForwardState const before = session.forward_state();
  auto const y = [&] {
    detail::WithoutTape<B> const guard(session);
    return block(x);
  }();
  auto const kept = static_cast<std::int64_t>(x.tensor().storage().keep());
  if (session.recording()) session.record_kept(kept);
  GradientSlot const slot = session.new_slot();
  if constexpr (std::is_same_v<B, Meta>) {
    using Node = detail::RecomputeTraceNode<Block, X>;
    session.push_node(new Node{{Node::run_node, Node::destroy_node}, block, x, before, slot});
  } else {
    session.push_node(std::make_unique<detail::RecomputeNode<B, Block, X, Y>>(block, x, before, slot, y.shape()));
  }
  return Y(session, y.tensor(), slot, y.place());
}

}  // namespace mixprec::inline MIXPREC_ABI
