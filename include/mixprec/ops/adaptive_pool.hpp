// SPDX-License-Identifier: Apache-2.0
// Average pooling to a grid of a given size.
#pragma once

#include <mixprec/backend/geometry.hpp>
#include <mixprec/ops/apply.hpp>

namespace mixprec::inline MIXPREC_ABI {

namespace ops {

/// Shapes: (N,C,H,W) -> (N,C,height,width). The mean of each bin; bins overlap where the extents do not divide.
/// Precision: follows x, sums in float. Backward: gathers dy / size; keeps nothing.
struct AdaptiveAvgPool2d : OpBase {
  using precision = FollowOp;
  static constexpr char const* name = "adaptive_avg_pool2d";
  int height = 1, width = 1;

  constexpr Shaped<4> shape(Shape<4> x) const {
    if (height < 1 || width < 1) return {"grid of at least", 1, height < 1 ? height : width};
    if (x[2] < 1 || x[3] < 1) return {"input of at least", 1, x[2] < 1 ? x[2] : x[3]};
    return Shape{x[0], x[1], std::int64_t{height}, std::int64_t{width}};
  }
  constexpr double flops(Shape<4>, Shape<4> x) const { return static_cast<double>(x.size()); }
  constexpr Keeps keeps(unsigned) const { return {}; }
  void forward(auto& session, auto& y, auto&, auto const& x) const {
    adaptive_avg_pool2d_forward(session.stream(), geometry(x.shape()), x.data(), y.data());
  }
  void backward(auto& session, auto const& context, auto& gradients) const {
    auto const& dx = std::get<0>(gradients);
    adaptive_avg_pool2d_backward(session.stream(), geometry(dx.shape()), context.gradient.data(), dx.data());
  }

 private:
  AdaptivePoolGeometry geometry(Shape<4> x) const { return {x[0], x[1], {x[2], height}, {x[3], width}}; }
};

}  // namespace ops

/// torch.nn.functional.adaptive_avg_pool2d.
constexpr auto adaptive_avg_pool2d(any_value auto const& x, int height, int width) {
  return apply(ops::AdaptiveAvgPool2d{{}, height, width}, x.place(), x);
}

}  // namespace mixprec::inline MIXPREC_ABI
