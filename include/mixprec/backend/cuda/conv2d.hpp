// SPDX-License-Identifier: Apache-2.0
// Convolutions on CUDA: our kernels for depthwise 3x3 ones; else whichever was fastest here of cuDNN's engines, our
// kernels for few channels and matrix products, and plain kernels where there is none.
#pragma once

#include <cstddef>
#include <type_traits>

#include <mixprec/backend/cuda/conv_plan.hpp>
#include <mixprec/backend/cuda/stream.hpp>
#include <mixprec/backend/geometry.hpp>
#include <mixprec/dtype/dtype.hpp>
#if MIXPREC_HAS_CUDA()
#include <mixprec/backend/cuda/depthwise.cuh>
#include <mixprec/backend/cuda/direct.cuh>
#include <mixprec/backend/cuda/own_convs.cuh>

namespace mixprec::inline MIXPREC_ABI::cuda {

/// y(N,P,Q,K) = x(N,H,W,C) convolved with w(K,R,S,C/groups), plus bias(K) unless it is nullptr.
/// Precision: operands T, accumulator float, one rounding; a float T keeps all its bits unless
/// Stream::set_allow_tf32. Where no engine adds the bias itself, y is rounded before the bias and again after it.
/// Sync: the first call of a geometry tunes and waits. Errors: Error where that happens during a capture. Neither where
/// g.depthwise_3x3(): there is one kernel.
template <floating_dtype T>
void conv2d_forward(Stream& stream, ConvGeometry const& g, T const* x, T const* w, std::type_identity_t<T> const* bias,
                    T* y) {
  static_assert(!std::is_same_v<T, double>, "mixprec: cuda::conv2d_forward takes float, float16 or bfloat16");
  if (g.outputs() == 0) return;
  if (g.depthwise_3x3()) return detail::depthwise_forward(stream, g, x, w, bias, y);
  auto& plans = stream.attached<detail::ConvPlans>();
  if (bias != nullptr && plans.run(ConvOp::forward_bias, g, dtype_of_v<T>, detail::own_convs<T>, x, w, y, bias)) return;
  if (!plans.run(ConvOp::forward, g, dtype_of_v<T>, detail::own_convs<T>, x, w, y, nullptr)) {
    detail::direct_conv2d_forward(stream, g, x, w, bias, y);
  } else if (bias != nullptr) {
    detail::add_bias(stream, g.n * g.p * g.q, g.k, y, bias, y);
  }
}

/// dx(N,H,W,C) from dy(N,P,Q,K) and w(K,R,S,C/groups). Precision, Sync, Errors: as conv2d_forward.
template <floating_dtype T>
void conv2d_backward_input(Stream& stream, ConvGeometry const& g, T const* dy, T const* w, T* dx) {
  static_assert(!std::is_same_v<T, double>, "mixprec: cuda::conv2d_backward_input takes float, float16 or bfloat16");
  if (g.inputs() == 0) return;
  if (g.outputs() == 0) {
    check(cudaMemsetAsync(dx, 0, static_cast<std::size_t>(g.inputs()) * sizeof(T), stream.handle()), "cudaMemsetAsync");
    return;
  }
  if (g.depthwise_3x3()) return detail::depthwise_dgrad(stream, g, dy, w, dx);
  if (!stream.attached<detail::ConvPlans>().run(ConvOp::backward_input, g, dtype_of_v<T>, detail::own_convs<T>, dx, w,
                                                dy, nullptr)) {
    detail::direct_conv2d_backward_input(stream, g, dy, w, dx);
  }
}

/// dw(K,R,S,C/groups) from x(N,H,W,C) and dy(N,P,Q,K). Precision, Sync, Errors: as conv2d_forward.
template <floating_dtype T>
void conv2d_backward_weight(Stream& stream, ConvGeometry const& g, T const* x, T const* dy, T* dw) {
  static_assert(!std::is_same_v<T, double>, "mixprec: cuda::conv2d_backward_weight takes float, float16 or bfloat16");
  if (g.weights() == 0) return;
  if (g.outputs() == 0) {
    check(cudaMemsetAsync(dw, 0, static_cast<std::size_t>(g.weights()) * sizeof(T), stream.handle()),
          "cudaMemsetAsync");
    return;
  }
  if (g.depthwise_3x3()) return detail::depthwise_wgrad(stream, g, x, dy, dw);
  if (!stream.attached<detail::ConvPlans>().run(ConvOp::backward_weight, g, dtype_of_v<T>, detail::own_convs<T>, x, dw,
                                                dy, nullptr)) {
    detail::direct_conv2d_backward_weight(stream, g, x, dy, dw);
  }
}

/// What serves a convolution of T on this stream; plans it where it is not planned yet. For reports and tests.
template <floating_dtype T>
ConvPlanInfo const& conv2d_plan(Stream& stream, ConvOp op, ConvGeometry const& g) {
  if (g.depthwise_3x3()) return detail::depthwise_plan(op);
  return stream.attached<detail::ConvPlans>().info(op, g, dtype_of_v<T>, detail::own_convs<T>);
}

}  // namespace mixprec::inline MIXPREC_ABI::cuda

#endif
