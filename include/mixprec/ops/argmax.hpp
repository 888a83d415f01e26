// SPDX-License-Identifier: Apache-2.0
// The class with the largest logit.
#pragma once

#include <mixprec/ops/apply.hpp>

namespace mixprec::inline MIXPREC_ABI {

namespace ops {

/// Shapes: (N,V) -> (N), (N,V,H,W) -> (N,H,W), int32. The first of the largest values; NaN wins. Precision: reads x as
/// it is stored. No gradient.
struct Argmax : OpBase {
  using precision = FollowOp;
  static constexpr char const* name = "argmax";
  static constexpr DType stores = DType::int32;
  static constexpr bool differentiable = false;
  static constexpr int channels(int) { return dynamic_channels; }

  constexpr Shaped<1> shape(Shape<2> x) const {
    if (x[1] < 1) return {"classes (at least 1)", 1, x[1]};
    return Shape{x[0]};
  }
  constexpr Shaped<3> shape(Shape<4> x) const {
    if (x[1] < 1) return {"classes (at least 1)", 1, x[1]};
    return Shape{x[0], x[2], x[3]};
  }
  constexpr double flops(auto const&, auto const& x) const { return static_cast<double>(x.size()); }
  constexpr Keeps keeps(unsigned) const { return {}; }
  void forward(auto& session, auto& y, auto&, auto const& x) const {
    argmax(session.stream(), y.size(), x.shape()[1], x.data(), y.data());
  }
  void backward(auto&, auto const&, auto&) const {}
};

}  // namespace ops

/// torch.argmax(x, 1), as int32.
template <any_value X>
constexpr auto argmax(X const& x) {
  static_assert(X::rank == 2 || X::rank == 4,
                "mixprec: argmax: needs scores of shape (N,V) or (N,V,H,W). Reshape the operand.");
  return apply(ops::Argmax{}, x.place(), x);
}

}  // namespace mixprec::inline MIXPREC_ABI
