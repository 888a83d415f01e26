// SPDX-License-Identifier: Apache-2.0
// Two-dimensional convolution.
#pragma once

#include <mixprec/backend/geometry.hpp>
#include <mixprec/ops/cast.hpp>

namespace mixprec::inline MIXPREC_ABI {

namespace ops {

/// Shapes: x (N,C,H,W), weight (K,C/groups,R,S), bias (K) -> (N,K,P,Q) with PyTorch's window formula.
/// 1 <= kernel, stride, dilation, groups; 0 <= padding; groups divide C and K.
/// Precision: low operands and result, float sums. Backward: input, weight and bias gradients, each only where it is
/// wanted; keeps x where the weight is trained, the weight where x wants a gradient.
struct Conv2d : OpBase {
  using precision = Fp16Op;
  static constexpr char const* name = "conv2d";
  static constexpr bool folds_casts = false;
  static constexpr RecomputeLevel again_from = RecomputeLevel::expansions;
  static constexpr int channels(int) { return dynamic_channels; }  // the module knows them

  int stride = 1, padding = 0, dilation = 1, groups = 1;

  constexpr Shaped<4> shape(Shape<4> x, Shape<4> weight, auto const&...) const {
    if (weight[2] < 1 || weight[3] < 1)
      return {"kernel and its least extent", 1, weight[2] < weight[3] ? weight[2] : weight[3]};
    if (stride < 1) return {"stride and its least value", 1, stride};
    if (dilation < 1) return {"dilation and its least value", 1, dilation};
    if (padding < 0) return {"padding and its least value", 0, padding};
    if (groups < 1) return {"groups and their least number", 1, groups};
    if (weight[0] % groups != 0)
      return {"output channels and a multiple of the groups", (weight[0] / groups + 1) * groups, weight[0]};
    if (x[1] != weight[1] * groups) return {"input channels", weight[1] * groups, x[1]};
    for (int axis = 2; axis < 4; ++axis) {
      if (window_extent(x[axis], static_cast<int>(weight[axis]), stride, padding, dilation) <= 0)
        return {axis == 2 ? "input height and kernel" : "input width and kernel",
                dilation * (weight[axis] - 1) + 1 - 2 * padding, x[axis]};
    }
    return Shape{x[0], weight[0], window_extent(x[2], static_cast<int>(weight[2]), stride, padding, dilation),
                 window_extent(x[3], static_cast<int>(weight[3]), stride, padding, dilation)};
  }
  constexpr double flops(Shape<4> y, Shape<4>, Shape<4> weight, auto const&...) const {
    return 2.0 * static_cast<double>(y.size()) * static_cast<double>(weight[1] * weight[2] * weight[3]);
  }
  constexpr Keeps keeps(unsigned needs) const { return {.operands = ((needs & 1u) << 1) | (needs >> 1 & 1u)}; }

  ConvGeometry geometry(Shape<4> x, Shape<4> weight, Shape<4> y) const {
    return {x[0], x[2], x[3], x[1], weight[0], weight[2], weight[3], y[2], y[3], stride, padding, dilation, groups};
  }
  void forward(auto& session, auto& y, auto&, auto const& x, auto const& weight, auto const&... bias) const {
    using T = typename std::remove_cvref_t<decltype(y)>::dtype;
    T const* bias_data = nullptr;
    ((bias_data = bias.data()), ...);
    conv2d_forward(session.stream(), geometry(x.shape(), weight.shape(), y.shape()), x.data(), weight.data(), bias_data,
                   y.data());
  }
  /// Where it widens pixel by pixel, and where the weight gradient reads x too, so that x is at hand in backward.
  static constexpr bool worth_again(unsigned needs, Shape<4> x, Shape<4> weight, auto const&...) {
    return (needs & 2u) != 0 && weight[2] == 1 && weight[3] == 1 && weight[0] > x[1];
  }
  void again(auto& session, auto const& y, auto const& saved, auto const&... operands) const {
    forward(session, y, saved, operands...);
  }
  void backward(auto& session, auto const& context, auto& gradients) const {
    auto const& x = std::get<0>(context.operands);
    auto const& weight = std::get<1>(context.operands);
    auto const& dy = context.gradient;
    ConvGeometry const g = geometry(x.shape(), weight.shape(), dy.shape());
    if (auto const& dw = std::get<1>(gradients))
      conv2d_backward_weight(session.stream(), g, x.data(), dy.data(), dw.data());
    if (auto const& dx = std::get<0>(gradients))
      conv2d_backward_input(session.stream(), g, dy.data(), weight.data(), dx.data());
    if constexpr (std::tuple_size_v<std::remove_cvref_t<decltype(gradients)>> == 3) {
      if (auto const& db = std::get<2>(gradients))
        column_sum(session.stream(), g.n * g.p * g.q, g.k, dy.data(), db.data());
    }
  }
};

}  // namespace ops

}  // namespace mixprec::inline MIXPREC_ABI
