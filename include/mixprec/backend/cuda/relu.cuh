// SPDX-License-Identifier: Apache-2.0
// ReLU and its gradient; batch norm's fused form uses the same function of one value.
#pragma once

#include <mixprec/backend/cuda/elementwise.cuh>

namespace mixprec::inline MIXPREC_ABI::cuda {

namespace detail {

// NaN passes; both zeros give +0.
__device__ inline float rectified(float value) { return value <= 0.0f ? 0.0f : value; }

struct Rectify {
  __device__ Rectify ready() const { return *this; }
  __device__ float operator()(float value) const { return rectified(value); }
};
struct RectifyBackward {
  __device__ RectifyBackward ready() const { return *this; }
  __device__ float operator()(float y, float dy) const { return y > 0.0f ? dy : 0.0f; }
};

}  // namespace detail

/// y[i] = max(x[i], 0); NaN stays NaN.
template <floating_dtype X, floating_dtype Y>
void relu_forward(Stream& stream, X const* x, Y* y, std::int64_t n) {
  detail::map(stream, "relu_forward", detail::Rectify{}, n, x, y);
}

/// dx[i] = y[i] > 0 ? dy[i] : 0, from the forward's result.
template <floating_dtype Y, floating_dtype X>
void relu_backward(Stream& stream, Y const* y, Y const* dy, X* dx, std::int64_t n) {
  detail::zip(stream, "relu_backward", detail::RectifyBackward{}, n, y, dy, dx);
}

}  // namespace mixprec::inline MIXPREC_ABI::cuda
