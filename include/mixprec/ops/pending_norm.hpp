// SPDX-License-Identifier: Apache-2.0
// A batch norm that has not run yet, so that the add and the relu behind it can join it.
#pragma once

#include <type_traits>
#include <utility>

#include <mixprec/ops/batch_norm.hpp>
#include <mixprec/ops/pending.hpp>

namespace mixprec::inline MIXPREC_ABI {

namespace ops {

/// Shapes: x and residual as y. y = x + residual, [relu], in one pass: batch norm's kernel, with statistics that change
/// nothing. Precision: as batch norm, so that it equals the two ops bit for bit. For inference: there is no backward.
template <bool Rectify>
struct FoldedNormAdd : SameShape {
  using precision = FollowOp;
  static constexpr char const* name = Rectify ? "add+relu" : "add";
  static constexpr bool differentiable = false;
  Buffer zeros, ones;  // at least one value for each channel

  constexpr Keeps keeps(unsigned) const { return {}; }
  void forward(auto& session, auto& y, auto&, auto const& x, auto const& residual) const {
    using A = accumulator_t<typename std::remove_cvref_t<decltype(y)>::dtype>;
    std::int64_t const c = x.shape()[1];
    A const* const zero = session.template buffer<A>(zeros);
    A const* const one = session.template buffer<A>(ones);
    batch_norm_forward(session.stream(), c > 0 ? x.size() / c : 0, c, x.data(), zero, one, one, zero, residual.data(),
                       Rectify, y.data());
  }
  void backward(auto&, auto const&, auto&) const {}
};

}  // namespace ops

/// Policies of an inference pass (nn/folding.hpp), in which a batch norm may have been folded into the layer before it.
template <class Policy>
concept inference_policy = requires {
  requires Policy::folds_norms;
};

/// Stands in for no residual.
struct NoResidual {};

namespace detail {
/// What a batch norm of `V` makes.
template <any_value V, int Channels>
using NormResult =
    Value<typename V::backend,
          type_of_t<resolve<typename V::policy, ops::BatchNorm<false, false>>(dtype_of_v<typename V::dtype>).result>,
          V::rank, Channels, typename V::policy>;
}  // namespace detail

/// What a batch norm module returns: a move-only value that runs when something reads it. relu(std::move(p)) and
/// std::move(p) + x fuse where nothing has read p; every other use runs the batch norm once and reads its result, as do
/// later uses. The fused op rounds where the three ops would, so results do not depend on what was fused. With
/// `Rectified` the value has the relu behind it already (relu_later).
template <any_value V, int Channels, class Residual = NoResidual, bool Rectified = false>
class PendingNorm
    : public detail::Pending<PendingNorm<V, Channels, Residual, Rectified>, detail::NormResult<V, Channels>> {
  using Base = detail::Pending<PendingNorm<V, Channels, Residual, Rectified>, detail::NormResult<V, Channels>>;

 public:
  using Result = detail::NormResult<V, Channels>;
  using operand = typename V::dtype;
  static constexpr bool has_residual = !std::is_same_v<Residual, NoResidual>;
  static constexpr bool rectifies = Rectified;

  constexpr PendingNorm(V x, Parameter<1> const& weight, Parameter<1> const& bias, ops::BatchNormState const& state,
                        bool batch_statistics, bool folded, Place place, Residual residual = {})
      : x_(std::move(x)),
        weight_(weight),
        bias_(bias),
        state_(state),
        batch_statistics_(batch_statistics),
        folded_(folded),
        place_(place),
        residual_(std::move(residual)) {}

  /// The result with a relu behind it, as one op. The object is used up.
  constexpr Result rectified() && { return run<true>(detail::OwnMemory{}, {}); }
  /// The same, as a value that has not run yet.
  constexpr auto rectified_later() && {
    bool const runs = this->open();
    PendingNorm<V, Channels, Residual, true> made(std::move(x_), weight_, bias_, state_, batch_statistics_, folded_,
                                                  place_, std::move(residual_));
    if (!runs) made.settle(relu(this->value()));
    return made;
  }
  /// The result in `target`, which is `columns` of a wider tensor. The object is used up. Requires: open(), and a
  /// policy that is no inference_policy.
  template <class Target>
  constexpr Result into(Target const& target, ResultColumns columns) && {
    return run<Rectified>(target, columns);
  }

  /// The same batch norm with `residual` added behind it. The object is used up. Where something has read the value
  /// already, the sum is an op of its own and has run: the batch norm runs once.
  template <any_value R>
  constexpr auto plus(R residual) && {
    using Sum = PendingNorm<V, Channels, R>;
    if (this->open()) {
      return Sum(std::move(x_), weight_, bias_, state_, batch_statistics_, folded_, place_, std::move(residual));
    }
    auto const sum = apply(ops::Add{}, this->value().place(), this->value(), residual);
    Sum made(std::move(x_), weight_, bias_, state_, batch_statistics_, folded_, place_, std::move(residual));
    made.settle(Sum::result_of(sum));
    return made;
  }

  // The part of a Value's interface that needs no run.
  constexpr Session<typename V::backend>& session() const { return x_.session(); }
  constexpr Shape<V::rank> const& shape() const { return x_.shape(); }
  constexpr Place place() const { return {place_.module, false, false}; }

 private:
  friend Base;
  constexpr Result run_alone() const { return run<Rectified>(detail::OwnMemory{}, {}); }

  template <bool Rectify, class Target>
  constexpr Result run(Target const& target, ResultColumns columns) const {
    if constexpr (inference_policy<typename V::policy> && std::is_same_v<operand, typename Result::dtype>) {
      if (folded_) return Base::result_of(run_folded<Rectify>());
    }
    ops::BatchNorm<has_residual, Rectify> const op{{}, state_, batch_statistics_, columns};
    if (batch_statistics_ && x_.shape()[0] == 0)
      session().mismatch(place_, op.name, empty_batch("samples in the batch (at least 1)"));
    if constexpr (has_residual) {
      return Base::result_of(apply_into<V::channels>(target, op, place_, x_, weight_, bias_, residual_));
    } else {
      return Base::result_of(apply_into<V::channels>(target, op, place_, x_, weight_, bias_));
    }
  }

  // What is left of a batch norm that the layer before it holds: its buffers are a zero and a one for each channel.
  template <bool Rectify>
  constexpr auto run_folded() const {
    if constexpr (has_residual) {
      ops::FoldedNormAdd<Rectify> const op{{}, state_.running_mean, state_.running_var};
      return apply(op, place_, x_, residual_);
    } else if constexpr (Rectify) {
      return apply(ops::Relu{}, place_, x_);
    } else {
      return x_.at(place());
    }
  }

  V x_;
  Parameter<1> weight_, bias_;
  ops::BatchNormState state_;
  bool batch_statistics_, folded_;
  Place place_;
  Residual residual_;
};

namespace detail {
template <any_value V, int Channels, class Residual, bool Rectified>
inline constexpr bool is_value<PendingNorm<V, Channels, Residual, Rectified>> = true;

template <class T>
inline constexpr bool is_pending_norm = false;
template <any_value V, int Channels, class Residual, bool Rectified>
inline constexpr bool is_pending_norm<PendingNorm<V, Channels, Residual, Rectified>> = true;

/// A temporary PendingNorm, as deduced for T&&.
template <class T>
concept open_norm = !std::is_reference_v<T> && !std::is_const_v<T> && is_pending_norm<T>;
template <class T>
concept open_norm_without_residual = open_norm<T> && !T::has_residual && !T::rectifies;

/// Whether `Op` on operands of dtype `T` keeps T under the norm's policy, so that joining changes no rounding.
template <class N, class Op, class T = typename N::dtype>
concept keeps_dtype = resolve<typename N::policy, Op>(dtype_of_v<T>)
.operand == dtype_of_v<T>&& resolve<typename N::policy, Op>(dtype_of_v<T>).result == dtype_of_v<T>;

/// Whether `R` can be added inside the batch norm: everything has one dtype.
template <class N, class R>
concept joins = std::is_same_v<typename N::dtype, typename N::operand> &&
                std::is_same_v<typename N::dtype, typename R::dtype> && N::rank == R::rank&& keeps_dtype<N, ops::Add>;

/// A Value, with nothing pending and nobody watching.
template <class X>
constexpr auto settled(X const& x) {
  if constexpr (requires { x.value(); }) {
    return x.value();
  } else {
    return x;
  }
}
}  // namespace detail

/// relu of a temporary batch norm: one op.
template <detail::open_norm N>
  requires detail::keeps_dtype<N, ops::Relu>
constexpr auto relu(N&& pending) {
  // Not a conditional expression: in constant evaluation GCC 12 destroys its result twice, and a plan loses bytes.
  if (pending.open()) return std::move(pending).rectified();
  return relu(pending.value());
}

/// relu(x), run when something reads it where x is a temporary batch norm: concat can then let it write its channels
/// where they belong.
template <class X>
  requires any_value<std::remove_cvref_t<X>>
constexpr auto relu_later(X&& x) {
  if constexpr (detail::open_norm<X>) {
    if constexpr (detail::keeps_dtype<X, ops::Relu>) {
      return std::move(x).rectified_later();
    } else {
      return relu(x.value());
    }
  } else {
    return relu(x);
  }
}

/// A sum with a temporary batch norm: the sum joins it.
template <detail::open_norm_without_residual N, class R>
  requires any_value<R> && detail::joins<N, R>
constexpr auto add(N&& pending, R const& residual) { return std::move(pending).plus(detail::settled(residual)); }
template <class R, detail::open_norm_without_residual N>
  requires any_value<R> &&
      (!detail::open_norm_without_residual<R>)&&detail::joins<N, R> constexpr auto add(R const& residual, N&& pending) {
    return std::move(pending).plus(detail::settled(residual));
  }
  template <detail::open_norm_without_residual N, class R>
    requires any_value<R> && detail::joins<N, R>
  constexpr auto operator+(N&& pending, R const& residual) { return mixprec::add(std::move(pending), residual); }
  template <class R, detail::open_norm_without_residual N>
    requires any_value<R> &&(!detail::open_norm_without_residual<R>)&&detail::joins<N, R> constexpr auto operator+(
        R const& residual, N&& pending) {
      return mixprec::add(residual, std::move(pending));
    }

}  // namespace mixprec::inline MIXPREC_ABI
