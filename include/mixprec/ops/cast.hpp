// SPDX-License-Identifier: Apache-2.0
// The cast that could not be folded: a kernel of its own, visible in the plan.
#pragma once

#include <mixprec/ops/apply.hpp>

namespace mixprec::inline MIXPREC_ABI {

namespace ops {
/// Shapes: any. Precision: one rounding to `To`. Backward: the gradient cast back.
template <DType To>
struct Cast : OpBase {
  using precision = FollowOp;
  static constexpr char const* name = "cast";
  static constexpr DType stores = To;
  static constexpr bool materializes = true;

  template <int Rank>
  constexpr Shaped<Rank> shape(Shape<Rank> x) const {
    return x;
  }
  constexpr double flops(auto const&...) const { return 0; }
  constexpr Keeps keeps(unsigned) const { return {}; }
  void forward(auto& session, auto& y, auto&, auto const& x) const {
    cast(session.stream(), x.data(), y.data(), x.size());
  }
  void backward(auto& session, auto const& context, auto& gradients) const {
    auto const& dx = std::get<0>(gradients);
    cast(session.stream(), context.gradient.data(), dx.data(), dx.size());
  }
};
}  // namespace ops

template <DType To, any_value X>
constexpr auto cast_value(X const& x, Place place) {
  if constexpr (dtype_of_v<typename X::dtype> == To) {
    return x;
  } else {
    return apply(ops::Cast<To>{}, place, x);
  }
}

/// `x` stored as `T`; `x` itself where it already is. torch.Tensor.to(dtype).
template <floating_dtype T>
constexpr auto cast_to(any_value auto const& x) {
  return cast_value<dtype_of_v<T>>(x, x.place());
}

}  // namespace mixprec::inline MIXPREC_ABI
