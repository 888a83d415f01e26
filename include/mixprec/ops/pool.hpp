// SPDX-License-Identifier: Apache-2.0
// Max, average and global average pooling.
#pragma once

#include <mixprec/backend/geometry.hpp>
#include <mixprec/ops/apply.hpp>

namespace mixprec::inline MIXPREC_ABI {

namespace ops {

/// Shapes: (N,C,H,W) -> (N,C,P,Q) by a square window. 1 <= kernel, 1 <= stride, 0 <= padding <= kernel / 2.
struct Window : OpBase {
  int kernel = 2, stride = 2, padding = 0;

  constexpr Shaped<4> shape(Shape<4> x) const {
    if (kernel < 1) return {"kernel and its least value", 1, kernel};
    if (kernel > largest_kernel<std::int32_t>)
      return {"kernel and its largest value", largest_kernel<std::int32_t>, kernel};
    if (stride < 1) return {"stride and its least value", 1, stride};
    if (padding < 0) return {"padding and its least value", 0, padding};
    if (2 * padding > kernel) return {"padding (at most half the kernel) and kernel", kernel / 2, padding};
    for (int axis = 2; axis < 4; ++axis)
      if (window_extent(x[axis], kernel, stride, padding, 1) <= 0)
        return {axis == 2 ? "input height and kernel" : "input width and kernel", kernel - 2 * padding, x[axis]};
    return Shape{x[0], x[1], window_extent(x[2], kernel, stride, padding, 1),
                 window_extent(x[3], kernel, stride, padding, 1)};
  }
  constexpr double flops(Shape<4> y, Shape<4>) const { return static_cast<double>(y.size()) * kernel * kernel; }
  PoolGeometry geometry(Shape<4> x, Shape<4> y) const {
    return {x[0], x[2], x[3], x[1], y[2], y[3], kernel, stride, padding};
  }
};

/// The largest value of each window; NaN wins. Precision: follows x. Backward: dy to the first maximum; keeps its
/// position in the window, one byte each, four where the kernel is above 16. Without a gradient nothing is kept.
struct MaxPool2d : Window {
  using precision = FollowOp;
  static constexpr char const* name = "max_pool2d";

  /// Positions as bytes, positions as words: one of the two has memory, or none.
  template <class T>
  constexpr auto saved(auto& session, unsigned needs, Shape<4> x) const {
    Shape<4> const y = this->shape(x).shape;
    decltype(session.template allocate<std::uint8_t>(y)) bytes;
    decltype(session.template allocate<std::int32_t>(y)) words;
    if (needs != 0 && kernel <= largest_kernel<std::uint8_t>) {
      bytes = session.template allocate<std::uint8_t>(y);
    } else if (needs != 0) {
      words = session.template allocate<std::int32_t>(y);
    }
    return std::tuple{std::move(bytes), std::move(words)};
  }
  constexpr Keeps keeps(unsigned) const { return {}; }
  void forward(auto& session, auto& y, auto& saved, auto const& x) const {
    auto const run = [&](auto* index) {
      max_pool2d_forward(session.stream(), geometry(x.shape(), y.shape()), x.data(), y.data(), index);
    };
    auto const& [bytes, words] = saved;
    words ? run(words.data()) : run(bytes.data());
  }
  void backward(auto& session, auto const& context, auto& gradients) const {
    auto const& dx = std::get<0>(gradients);
    auto const run = [&](auto const* index) {
      max_pool2d_backward(session.stream(), geometry(dx.shape(), context.gradient.shape()), context.gradient.data(),
                          index, dx.data());
    };
    auto const& [bytes, words] = context.saved;
    words ? run(words.data()) : run(bytes.data());
  }
};

/// The mean of each window, padding counted. Precision: follows x, sums in float. Backward: dy / window; keeps nothing.
struct AvgPool2d : Window {
  using precision = FollowOp;
  static constexpr char const* name = "avg_pool2d";

  constexpr Keeps keeps(unsigned) const { return {}; }
  void forward(auto& session, auto& y, auto&, auto const& x) const {
    avg_pool2d_forward(session.stream(), geometry(x.shape(), y.shape()), x.data(), y.data());
  }
  void backward(auto& session, auto const& context, auto& gradients) const {
    auto const& dx = std::get<0>(gradients);
    avg_pool2d_backward(session.stream(), geometry(dx.shape(), context.gradient.shape()), context.gradient.data(),
                        dx.data());
  }
};

/// Shapes: (N,C,H,W) -> (N,C). The mean over H and W. Precision: follows x, sums in float. Backward: dy / (H W).
struct GlobalAvgPool2d : OpBase {
  using precision = FollowOp;
  static constexpr char const* name = "global_avg_pool2d";

  constexpr Shaped<2> shape(Shape<4> x) const { return Shape{x[0], x[1]}; }
  constexpr double flops(Shape<2>, Shape<4> x) const { return static_cast<double>(x.size()); }
  constexpr Keeps keeps(unsigned) const { return {}; }
  void forward(auto& session, auto& y, auto&, auto const& x) const {
    global_avg_pool2d_forward(session.stream(), x.shape()[0], x.shape()[2] * x.shape()[3], x.shape()[1], x.data(),
                              y.data());
  }
  void backward(auto& session, auto const& context, auto& gradients) const {
    auto const& dx = std::get<0>(gradients);
    global_avg_pool2d_backward(session.stream(), dx.shape()[0], dx.shape()[2] * dx.shape()[3], dx.shape()[1],
                               context.gradient.data(), dx.data());
  }
};

}  // namespace ops

/// torch.nn.functional.max_pool2d with a square window; stride 0 means the kernel. Errors: Error for a window that is
/// no window (see ops::Window) or does not fit.
constexpr auto max_pool2d(any_value auto const& x, int kernel, int stride = 0, int padding = 0) {
  return apply(ops::MaxPool2d{{{}, kernel, stride == 0 ? kernel : stride, padding}}, x.place(), x);
}
/// torch.nn.functional.avg_pool2d with a square window and count_include_pad; stride 0 means the kernel. Errors: as
/// max_pool2d.
constexpr auto avg_pool2d(any_value auto const& x, int kernel, int stride = 0, int padding = 0) {
  return apply(ops::AvgPool2d{{{}, kernel, stride == 0 ? kernel : stride, padding}}, x.place(), x);
}
/// torch.nn.functional.adaptive_avg_pool2d(x, 1).flatten(1).
constexpr auto global_avg_pool2d(any_value auto const& x) { return apply(ops::GlobalAvgPool2d{}, x.place(), x); }

}  // namespace mixprec::inline MIXPREC_ABI
