// SPDX-License-Identifier: Apache-2.0
// The one door of every op: resolve dtypes, cast, check shapes, run, record, put a node on the tape.
#pragma once

#include <array>
#include <memory>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>

#include <mixprec/autograd/session.hpp>
#include <mixprec/autograd/trace.hpp>
#include <mixprec/autograd/value.hpp>
#include <mixprec/ops/recipes.hpp>
#include <mixprec/policy/policy.hpp>

namespace mixprec::inline MIXPREC_ABI {

/// What backward reads: a bit for each operand, and the result. Saved tensors of the op are always kept.
struct Keeps {
  unsigned operands = 0;
  bool result = false;
};

/// Base of every op: the defaults of an op's declaration.
///
/// An op is a struct with
/// - `using precision = Fp16Op | Fp32Op | PromoteOp | FollowOp;` (no default: an op without a class does not compile)
/// - `static constexpr char const* name`
/// - `shape(Shape...) const -> Shaped<Rank>`: the result's extents, or what does not fit, with a remedy of the op's own
///   where "Change the layer or the shape of its input." is none
/// - `keeps(unsigned needs) const -> Keeps`: what backward reads when the operands in `needs` want gradients
/// - `forward(session, result, saved, operands...)`, `backward(session, context, gradients)` on tensors
/// - where they differ from the defaults below: `folds_casts`, `float_parameters`, `stores_operand`,
///   `stores_accumulator`, `channels`, `saved`, `flops`, `differentiable`, `materializes`
/// - `stores`, the dtype of its result, where the op is a cast
struct OpBase {
  /// Kernels read any floating dtype and convert in registers. False for vendor convolution and matmul.
  static constexpr bool folds_casts = true;
  /// Parameters are read as they are stored (batch norm), not as the op's operands.
  static constexpr bool float_parameters = false;
  /// An Fp32Op whose result Amp stores in the operand's dtype (resize).
  static constexpr bool stores_operand = false;
  /// The result is stored in the accumulator's dtype whatever the policy says: the losses, whose kernels sum in it.
  static constexpr bool stores_accumulator = false;
  static constexpr bool differentiable = true;
  /// The op is a cast kernel of its own.
  static constexpr bool materializes = false;
  /// Operands may lie in the result already (`joined`, a bit for each): backward hands them its gradient as it is.
  static constexpr bool joins_operands = false;
  /// From which level on a policy has the result computed once more, by `again(session, result, saved, operands...)`,
  /// rather than kept; never where it is `nothing`.
  static constexpr RecomputeLevel again_from = RecomputeLevel::nothing;
  /// Whether that is worth it for operands of these shapes, of which those in `needs` want gradients.
  static constexpr bool worth_again(unsigned /*needs*/, auto const&... /*shapes*/) { return true; }

  /// The result's static channels, from the first operand's.
  static constexpr int channels(int first) { return first; }
  /// Further tensors, by default none. `needs` has a bit for each operand that wants a gradient: where it is 0, what
  /// only backward reads may stay without memory.
  template <class T>
  constexpr auto saved(auto& /*session*/, unsigned /*needs*/, auto const&... /*shapes*/) const {
    return std::tuple<>{};
  }
  constexpr double flops(auto const& result, auto const&...) const { return static_cast<double>(result.size()); }
};

/// Where the result of an op with such a member lies: in memory of its own, or from channel `first` on in a wider
/// result whose pixels are `stride` elements apart. The tensor that forward gets starts there; the gradient that
/// backward gets starts where the wider one does.
struct ResultColumns {
  std::int64_t first = 0, stride = 0;
};

/// What an op's backward reads. Operands and result that were not kept have a shape and no memory.
template <class Result, class Saved, class... Operand>
struct BackwardContext {
  Result gradient;  // of the result
  Result result;
  Saved saved;
  std::tuple<Operand...> operands;  // as the op read them
};

namespace detail {

/// An operand as an op reads it. `Held` is a Tensor, or a reference to one that the caller holds.
template <class Held>
struct Prepared {
  using tensor_type = std::remove_cvref_t<Held>;
  Held tensor;
  Shape<tensor_type::rank> shape;
  GradientSlot slot;
  bool folded;
};

template <class X>
constexpr DType widen(DType dtype) {
  if constexpr (is_value<X>) {
    return promote(dtype, dtype_of_v<typename X::dtype>);
  } else {
    return dtype;
  }
}

/// resolve(), except that a cast says itself what it stores, and that a loss stores float where policies have it low.
template <class Policy, class Op>
constexpr Precision resolve_op(DType widest) {
  if constexpr (requires { Op::stores; }) {
    return {widest, Op::stores, accumulator_of(Op::stores), Op::stores, Op::stores};
  } else {
    Precision precision = resolve<Policy, Op>(widest);
    if constexpr (Op::stores_accumulator) precision.result = precision.gradient = precision.accumulator;
    return precision;
  }
}

/// Stands in for a tensor that takes an op's result.
struct OwnMemory {};

/// Whether the policy has what `Op` gives computed again: not where it lies in a wider result, which others keep.
template <class Policy, class Op, class Target>
inline constexpr bool runs_again = Op::again_from != RecomputeLevel::nothing&& Op::again_from <=
                                                         Policy::recomputes&& std::is_same_v<Target, OwnMemory>;

template <class B, class Op, bool Again, class Result, class Saved, class... Operand>
struct OpNode final : TapeNode<B> {
  using Recipes = KeptRecipes<B, sizeof...(Operand), Again>;
  OpNode(Op const& the_op, BackwardContext<Result, Saved, Operand...> the_context, GradientSlot slot,
         std::array<GradientSlot, sizeof...(Operand)> operand_slots, Recipes the_recipes)
      : op(the_op),
        context(std::move(the_context)),
        result_slot(slot),
        slots(operand_slots),
        recipes(std::move(the_recipes)) {}

  void backward(Session<B>& session) override {
    context.gradient =
        session.template take_gradient<typename Result::dtype, Result::rank>(result_slot, context.result.shape());
    if (!context.gradient) return;  // nothing that the loss depends on
    recipes.run(session, context.operands);
    [&]<std::size_t... I>(std::index_sequence<I...>) {
      auto gradients = std::tuple<Operand...>{begin(session, I, std::get<I>(context.operands))...};
      op.backward(session, context, gradients);
      ((joined(I) ? void() : session.end_gradient(slots[I], std::get<I>(gradients))), ...);
    }
    (std::index_sequence_for<Operand...>{});
  }
  bool joined(std::size_t at) const {
    if constexpr (Op::joins_operands) return (op.joined >> at & 1u) != 0;
    return false;
  }
  template <class Tensor>
  Tensor begin(Session<B>& session, std::size_t at, Tensor const& operand) {
    if constexpr (Op::joins_operands) {
      if (joined(at)) {
        session.give_gradient(slots[at], context.gradient);
        return without_memory(operand);
      }
    }
    return session.template begin_gradient<typename Tensor::dtype, Tensor::rank>(slots[at], operand.shape());
  }

  Op op;
  BackwardContext<Result, Saved, Operand...> context;
  GradientSlot result_slot;
  std::array<GradientSlot, sizeof...(Operand)> slots;
  [[no_unique_address]] Recipes recipes;
};

}  // namespace detail

template <DType To, any_value X>
constexpr auto cast_value(X const& x, Place place);

namespace detail {

template <class Policy>
inline constexpr DType stored_weight = Policy::parameter(ParameterKind::weight);

/// The operand as the op reads it: a parameter in the op's dtype, a value cast where the op cannot fold the cast.
template <class Policy, class Op, DType Read, class B, int Rank>
constexpr auto prepare(Session<B>& session, Place, Parameter<Rank> const& x) {
  using T = type_of_t<Op::float_parameters ? Policy::parameter(ParameterKind::norm_weight) : Read>;
  return Prepared<decltype(session.template parameter<T>(x))>{
      session.template parameter<T>(x),
      x.shape,
      {x.frozen || x.id < 0 || !session.grad_enabled() ? GradientSlot::Kind::none : GradientSlot::Kind::parameter,
       x.id},
      !Op::float_parameters && Read != stored_weight<Policy>};
}
template <class Policy, class Op, DType Read, class B, any_value X>
  requires(dtype_of_v<typename X::dtype> == Read || Op::folds_casts)
constexpr auto prepare(Session<B>&, Place, X const& x) {
  return Prepared<Tensor<B, typename X::dtype, X::rank> const&>{x.tensor(), x.shape(), x.slot(),
                                                                dtype_of_v<typename X::dtype> != Read};
}
template <class Policy, class Op, DType Read, class B, any_value X>
constexpr auto prepare(Session<B>&, Place place, X const& x) {
  auto const converted = cast_value<Read>(x, place);
  return Prepared<Tensor<B, type_of_t<Read>, X::rank>>{converted.tensor(), converted.shape(), converted.slot(), false};
}

/// The dtypes of an op on operands of these types.
template <class Op, class X, class... More>
inline constexpr Precision precision_of = [] {
  DType dtype = dtype_of_v<typename X::dtype>;
  ((dtype = widen<More>(dtype)), ...);
  return resolve_op<typename X::policy, Op>(dtype);
}();

/// An operand as the trace's nodes know it.
template <class Read>
constexpr TracedOperand traced_operand(Read const& read) {
  using T = typename Read::tensor_type::dtype;
  return {read.slot, read.shape.size() * static_cast<std::int64_t>(sizeof(T))};
}

/// Puts an op on the tape: with tensors for a backend that computes, with sizes in the trace. What has a recipe is not
/// kept but computed again.
template <bool Again, class B, class Op, class Result, class Saved, class... Operand>
constexpr void push_op(Session<B>& session, Op const& op, Keeps keeps, GradientSlot slot, Result const& result,
                       Saved& saved, Operand const&... operand) {
  unsigned bit = 0;
  if constexpr (std::is_same_v<B, Meta>) {
    auto const hold = [&](auto const& tensor) {
      if constexpr (Again) {
        if (tensor.storage().has_recipe()) return;
      }
      session.push_node(new KeptNode{{KeptNode::run_node, KeptNode::destroy_node}, tensor.storage()});
    };
    (((keeps.operands >> bit++ & 1u) != 0 ? hold(operand.tensor) : void()), ...);
    if (keeps.result) hold(result);
    if constexpr (std::tuple_size_v < Saved >> 0)
      std::apply([&](auto const&... tensor) { (hold(tensor), ...); }, saved);
    // Written out three times: every step of a plan's evaluation counts against the compiler's limit.
    if constexpr (Op::joins_operands) {
      using Node = HandingTraceNode<sizeof...(Operand)>;
      session.push_node(
          new Node{{{Node::run_node, Node::destroy_node}, slot, {traced_operand(operand)...}}, op.joined});
    } else if constexpr (Again) {
      using Node = AgainTraceNode<sizeof...(Operand)>;
      bit = 0;
      auto const again = [&](auto const& tensor) {
        bool const kept = (keeps.operands >> bit++ & 1u) != 0;
        if (!kept || !tensor.storage().has_recipe()) return TracedRecipe{};
        return TracedRecipe{tensor.storage().rounded(), tensor.storage().recipe_bytes()};
      };
      session.push_node(new Node{{{Node::run_node, Node::destroy_node}, slot, {traced_operand(operand)...}},
                                 {again(operand.tensor)...}});
    } else {
      using Node = TraceNode<sizeof...(Operand)>;
      session.push_node(new Node{
          {Node::run_node, Node::destroy_node},
          slot,
          {{operand.slot,
            operand.shape.size() * static_cast<std::int64_t>(sizeof(typename Operand::tensor_type::dtype))}...}});
    }
  } else {
    using Node = OpNode<B, Op, Again, Result, Saved, typename Operand::tensor_type...>;
    typename Node::Recipes recipes;
    auto const kept = [&](auto const& tensor) {
      unsigned const at = bit++;
      return (keeps.operands >> at & 1u) != 0 ? recipes.keep(session, at, tensor) : without_memory(tensor);
    };
    // Braces evaluate from left to right, which the running bit relies on.
    BackwardContext<Result, Saved, typename Operand::tensor_type...> context{
        {}, result, std::move(saved), std::tuple<typename Operand::tensor_type...>{kept(operand.tensor)...}};
    if (!keeps.result || (Again && runs_again_in(session, result.storage()))) context.result = without_memory(result);
    session.push_node(std::make_unique<Node>(op, std::move(context), slot,
                                             std::array<GradientSlot, sizeof...(operand)>{operand.slot...},
                                             std::move(recipes)));
  }
}

/// The op on prepared operands.
template <class Policy, Precision How, int Channels, class B, class Op, class Target, class... Operand>
constexpr auto run_op(Session<B>& session, Op const& op, Place place, Target const& target, Operand const&... operand) {
  auto const shaped = op.shape(operand.shape...);
  if (!shaped.fits()) session.mismatch(place, Op::name, shaped);
  using T = type_of_t<How.result>;
  auto result = [&] {
    if constexpr (std::is_same_v<Target, OwnMemory>) {
      return session.template allocate<T>(shaped.shape);
    } else {
      return target;
    }
  }();
  unsigned needs = 0, bit = 0;
  ((needs |= (operand.slot.kind != GradientSlot::Kind::none ? 1u : 0u) << bit++), ...);
  if (!Op::differentiable || !session.grad_enabled()) needs = 0;
  auto saved = op.template saved<type_of_t<How.result>>(session, needs, operand.shape...);
  if constexpr (!std::is_same_v<B, Meta>) op.forward(session, result, saved, operand.tensor...);

  bool const recording = session.recording();
  PlanRow row{};
  if (recording) {
    row = {place,
           Op::name,
           How,
           shaped.shape.rank,
           {},
           (0 + ... + (operand.folded ? 1 : 0)),
           Op::materializes,
           op.flops(shaped.shape, operand.shape...),
           0};
    for (int axis = 0; axis < shaped.shape.rank && axis < 4; ++axis) row.extents[axis] = shaped.shape.extents[axis];
  }
  GradientSlot slot{};
  if (needs != 0) {
    slot = session.new_slot();
    if constexpr (detail::runs_again<Policy, Op, Target>) give_recipe(session, op, needs, result, saved, operand...);
    Keeps const keeps = op.keeps(needs);
    bit = 0;
    if constexpr (Policy::recomputes != RecomputeLevel::nothing) {
      auto const keep = [&](auto const& tensor) { return kept_bytes(session, tensor.storage()); };
      ((row.kept_bytes += (keeps.operands >> bit++ & 1u) != 0 ? keep(operand.tensor) : 0), ...);
      if (keeps.result) row.kept_bytes += keep(result);
      if constexpr (std::tuple_size_v < decltype(saved) >> 0)
        std::apply([&](auto const&... tensor) { ((row.kept_bytes += keep(tensor)), ...); }, saved);
    } else {  // the same in fewer steps of a plan's evaluation
      ((row.kept_bytes +=
        (keeps.operands >> bit++ & 1u) != 0 ? static_cast<std::int64_t>(operand.tensor.storage().keep()) : 0),
       ...);
      if (keeps.result) row.kept_bytes += static_cast<std::int64_t>(result.storage().keep());
      if constexpr (std::tuple_size_v < decltype(saved) >> 0)
        std::apply(
            [&](auto const&... tensor) {
              ((row.kept_bytes += static_cast<std::int64_t>(tensor.storage().keep())), ...);
            },
            saved);
    }
    push_op<Policy::recomputes != RecomputeLevel::nothing>(session, op, keeps, slot, result, saved, operand...);
  }
  if (recording) session.record(row);
  return Value<B, type_of_t<How.result>, shaped.shape.rank, Channels, Policy>(
      session, static_cast<decltype(result)&&>(result), slot, Place{place.module, !place.own && place.inside, false});
}

/// Refuses a gradient that would have to flow into another model's tape.
template <any_value X, class... More>
void require_one_model(char const* op, X const& x, More const&... more) {
  [[maybe_unused]] auto const check = [&](auto const& operand) {
    if constexpr (any_value<std::remove_cvref_t<decltype(operand)>>) {
      if (&operand.session() != &x.session() && operand.requires_grad())
        throw Error(std::string(op) +
                    ": the operands belong to two models. Give the value of the model that is trained first, and the "
                    "other one's detached or computed under NoGrad.");
    }
  };
  (check(more), ...);
}

/// True for a parameter that is no part of the model.
template <int Rank>
constexpr bool is_unlisted(Parameter<Rank> const& operand) {
  return operand.id < 0;
}
constexpr bool is_unlisted(any_value auto const&) { return false; }
/// Refuses such a parameter (in a trace: records it, the first one).
template <int Rank>
constexpr void require_listed(auto& session, char const* op, Place operand, Parameter<Rank> const& parameter) {
  if (is_unlisted(parameter)) session.unlisted({op, operand, parameter.shape});
}
constexpr void require_listed(auto&, char const*, Place, any_value auto const&) {}

}  // namespace detail

/// apply() where the caller knows the result's channels and gives the tensor that takes it.
template <int Channels, class Op, class Target, any_value X, class... More>
constexpr auto apply_into(Target const& target, Op const& op, Place place, X const& x, More const&... more) {
  constexpr Precision precision = detail::precision_of<Op, X, More...>;
  auto& session = x.session();
  if constexpr (!std::is_same_v<typename X::backend, Meta>) detail::require_one_model(Op::name, x, more...);
  // Asked first, because a plan's evaluation counts every call.
  if ((detail::is_unlisted(more) || ...)) (detail::require_listed(session, Op::name, x.place(), more), ...);
  return detail::run_op<typename X::policy, precision, Channels>(
      session, op, place, target, detail::prepare<typename X::policy, Op, precision.operand>(session, place, x),
      detail::prepare<typename X::policy, Op, precision.operand>(session, place, more)...);
}

/// apply() where the caller knows the result's channels.
template <int Channels, class Op, any_value X, class... More>
constexpr auto apply_as(Op const& op, Place place, X const& x, More const&... more) {
  return apply_into<Channels>(detail::OwnMemory{}, op, place, x, more...);
}

/// Runs `op` on a value and further values or parameters; the first operand's policy decides, and its session runs it.
/// Errors: shapes that do not fit: Error with the op's path and both values; parameters that are no part of the model:
/// Error with what called the op (in a plan: recorded, the first one).
/// Sync: none beyond the backend's kernels.
template <class Op, any_value X, class... More>
constexpr auto apply(Op const& op, Place place, X const& x, More const&... more) {
  return apply_as<Op::channels(X::channels)>(op, place, x, more...);
}

}  // namespace mixprec::inline MIXPREC_ABI
