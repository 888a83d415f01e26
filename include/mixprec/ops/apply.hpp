// SPDX-License-Identifier: Apache-2.0
// The one door of every op: resolve dtypes, cast, check shapes, run, record, put a node on the tape.
#pragma once

#include <array>
#include <memory>
#include <tuple>
#include <type_traits>
#include <utility>

#include <mixprec/autograd/session.hpp>
#include <mixprec/autograd/trace.hpp>
#include <mixprec/autograd/value.hpp>

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
/// - `shape(Shape...) const -> Shaped<Rank>`: the result's extents, or what does not fit
/// - `keeps(unsigned needs) const -> Keeps`: what backward reads when the operands in `needs` want gradients
/// - `forward(session, result, saved, operands...)`, `backward(session, context, gradients)` on tensors
/// - where they differ from the defaults below: `folds_casts`, `float_parameters`, `stores_operand`,
/// `stores_accumulator`, `channels`,
///   `saved`, `flops`, `differentiable`; an op whose result has a dtype of its own (a cast) names it in `stores`.
struct OpBase {
  /// Kernels read any floating dtype and convert in registers. False for vendor convolution and matmul.
  static constexpr bool folds_casts = true;
  /// Parameters are read as they are stored (batch norm), not as the op's operands.
  static constexpr bool float_parameters = false;
  /// An Fp32Op whose result Amp stores in the operand's dtype.
  static constexpr bool stores_operand = false;
  /// The result is stored in the accumulator's dtype whatever the policy says: the losses, whose kernels sum in it.
  static constexpr bool stores_accumulator = false;
  static constexpr bool differentiable = true;
  /// The op is a cast kernel of its own.
  static constexpr bool materializes = false;

  /// The result's static channels, from the first operand's.
  static constexpr int channels(int first) { return first; }
  /// Further tensors for backward, by default none.
  template <class T>
  constexpr auto saved(auto& /*session*/, auto const&... /*shapes*/) const {
    return std::tuple<>{};
  }
  constexpr double flops(auto const& result, auto const&...) const { return static_cast<double>(result.size()); }
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

template <class B, class T, int Rank>
struct Prepared {
  Tensor<B, T, Rank> tensor;
  GradientSlot slot;
  bool folded;
};

template <class T>
inline constexpr bool is_parameter = false;
template <int Rank>
inline constexpr bool is_parameter<Parameter<Rank>> = true;

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

template <class B, class Op, class Result, class Saved, class... Operand>
struct OpNode final : TapeNode<B> {
  OpNode(Op const& the_op, BackwardContext<Result, Saved, Operand...> the_context, GradientSlot slot,
         std::array<GradientSlot, sizeof...(Operand)> operand_slots)
      : op(the_op), context(std::move(the_context)), result_slot(slot), slots(operand_slots) {}

  void backward(Session<B>& session) override {
    context.gradient =
        session.template take_gradient<typename Result::dtype, Result::rank>(result_slot, context.result.shape());
    if (!context.gradient) return;  // nothing that the loss depends on
    [&]<std::size_t... I>(std::index_sequence<I...>) {
      auto gradients = std::tuple<Operand...>{session.template begin_gradient<typename Operand::dtype, Operand::rank>(
          slots[I], std::get<I>(context.operands).shape())...};
      op.backward(session, context, gradients);
      (session.end_gradient(slots[I], std::get<I>(gradients)), ...);
    }
    (std::index_sequence_for<Operand...>{});
  }

  Op op;
  BackwardContext<Result, Saved, Operand...> context;
  GradientSlot result_slot;
  std::array<GradientSlot, sizeof...(Operand)> slots;
};

template <class B, class T, int Rank>
Tensor<B, T, Rank> without_memory(Tensor<B, T, Rank> const& tensor) {
  return {{}, nullptr, tensor.shape()};
}

template <class Tensor>
constexpr std::int64_t keep(Tensor const& tensor) {
  return tensor.storage().keep() ? static_cast<std::int64_t>(tensor.storage().bytes()) : 0;
}

}  // namespace detail

template <DType To, any_value X>
constexpr auto cast_value(X const& x, Place place);

namespace detail {

/// The operand as the op reads it: a parameter in the op's dtype, a value cast where the op cannot fold the cast.
template <class Policy, class Op, DType Read, class B, class X>
constexpr auto prepare(Session<B>& session, Place place, X const& x) {
  if constexpr (is_parameter<X>) {
    constexpr DType stored = Policy::parameter(ParameterKind::weight);
    GradientSlot const slot{
        x.frozen || !session.grad_enabled() ? GradientSlot::Kind::none : GradientSlot::Kind::parameter, x.id};
    if constexpr (Op::float_parameters) {
      using T = type_of_t<Policy::parameter(ParameterKind::norm_weight)>;
      return Prepared<B, T, decltype(x.shape)::rank>{session.template parameter<T>(x), slot, false};
    } else {
      using T = type_of_t<Read>;
      return Prepared<B, T, decltype(x.shape)::rank>{session.template parameter<T>(x), slot, Read != stored};
    }
  } else if constexpr (dtype_of_v<typename X::dtype> == Read) {
    return Prepared<B, typename X::dtype, X::rank>{x.tensor(), x.slot(), false};
  } else if constexpr (Op::folds_casts) {
    return Prepared<B, typename X::dtype, X::rank>{x.tensor(), x.slot(), true};
  } else {
    auto const converted = cast_value<Read>(x, place);
    return Prepared<B, type_of_t<Read>, X::rank>{converted.tensor(), converted.slot(), false};
  }
}

}  // namespace detail

/// Runs `op` on a value and further values or parameters; the first operand's policy decides, and its session runs it.
/// Errors: shapes that do not fit: Error with the op's path and both values (in a plan: recorded, the first one).
/// Sync: none beyond the backend's kernels.
template <class Op, any_value X, class... More>
constexpr auto apply(Op const& op, Place place, X const& x, More const&... more) {
  using Policy = typename X::policy;
  using B = typename X::backend;
  constexpr DType widest = [] {
    DType dtype = dtype_of_v<typename X::dtype>;
    ((dtype = detail::widen<More>(dtype)), ...);
    return dtype;
  }();
  constexpr Precision precision = detail::resolve_op<Policy, Op>(widest);
  using T = type_of_t<precision.result>;
  constexpr int channels = Op::channels(X::channels);
  auto& session = x.session();

  auto const finish = [&](auto... operand) {
    auto const shaped = op.shape(operand.tensor.shape()...);
    if (!shaped.fits()) session.mismatch(place, Op::name, shaped);
    auto result = session.template allocate<T>(shaped.shape);
    auto saved = op.template saved<T>(session, operand.tensor.shape()...);
    if constexpr (!std::is_same_v<B, Meta>) op.forward(session, result, saved, operand.tensor...);

    unsigned needs = 0, bit = 0;
    ((needs |= (operand.slot.needed() ? 1u : 0u) << bit++), ...);
    if (!session.grad_enabled() || !Op::differentiable) needs = 0;
    constexpr int rank = std::remove_cvref_t<decltype(result)>::rank;

    PlanRow row;
    if (session.recording()) {
      row.place = place, row.op = Op::name, row.precision = precision, row.rank = rank;
      for (int axis = 0; axis < rank && axis < 4; ++axis) row.extents[axis] = shaped.shape[axis];
      ((row.folded_casts += operand.folded ? 1 : 0), ...);
      row.materialized_cast = Op::materializes;
      row.flops = op.flops(shaped.shape, operand.tensor.shape()...);
    }
    GradientSlot slot;
    if (needs != 0) {
      slot = session.new_slot();
      Keeps const keeps = op.keeps(needs);
      bit = 0;
      ((row.kept_bytes += (keeps.operands >> bit++ & 1u) != 0 ? detail::keep(operand.tensor) : 0), ...);
      if (keeps.result) row.kept_bytes += detail::keep(result);
      std::apply([&](auto const&... tensor) { ((row.kept_bytes += detail::keep(tensor)), ...); }, saved);
      if constexpr (std::is_same_v<B, Meta>) {
        typename Session<Meta>::Node node;
        node.result = slot.index;
        bit = 0;
        ((node.operands[node.operand_count] = operand.slot,
          node.gradient_bytes[node.operand_count++] =
              operand.tensor.size() * static_cast<std::int64_t>(sizeof(typename decltype(operand.tensor)::dtype)),
          node.kept[node.kept_count++] = (keeps.operands >> bit++ & 1u) != 0 ? operand.tensor.storage().id() : -1),
         ...);
        node.kept[node.kept_count++] = keeps.result ? result.storage().id() : -1;
        std::apply([&](auto const&... tensor) { ((node.kept[node.kept_count++] = tensor.storage().id()), ...); },
                   saved);
        session.push_node(node);
      } else {
        bit = 0;
        using Context = BackwardContext<decltype(result), decltype(saved), decltype(operand.tensor)...>;
        // Braces evaluate from left to right, which the running bit relies on.
        Context context{{},
                        keeps.result ? result : detail::without_memory(result),
                        std::move(saved),
                        std::tuple<decltype(operand.tensor)...>{(keeps.operands >> bit++ & 1u) != 0
                                                                    ? operand.tensor
                                                                    : detail::without_memory(operand.tensor)...}};
        session.push_node(
            std::make_unique<detail::OpNode<B, Op, decltype(result), decltype(saved), decltype(operand.tensor)...>>(
                op, std::move(context), slot, std::array<GradientSlot, sizeof...(operand)>{operand.slot...}));
      }
    }
    if (session.recording()) session.record(row);
    Place const made{place.module, place.own ? false : place.inside, false};
    return Value<B, T, rank, channels, Policy>(session, std::move(result), slot, made);
  };
  return finish(detail::prepare<Policy, Op, precision.operand>(session, place, x),
                detail::prepare<Policy, Op, precision.operand>(session, place, more)...);
}

}  // namespace mixprec::inline MIXPREC_ABI
