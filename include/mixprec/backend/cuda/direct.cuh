// SPDX-License-Identifier: Apache-2.0
// Plain kernels behind the vendor libraries: the bias where no library fuses it, and products and convolutions of
// shapes for which cuBLASLt or cuDNN has no algorithm. Correct for every shape; not made to be fast.
#pragma once

#include <cstdint>

#include <mixprec/backend/cuda/launch.cuh>
#include <mixprec/backend/cuda/stream.hpp>
#include <mixprec/backend/geometry.hpp>
#include <mixprec/dtype/dtype.hpp>

namespace mixprec::inline MIXPREC_ABI::cuda::detail {

template <class X, class Bias, class Y>
__global__ void add_bias_kernel(std::int64_t n, std::int64_t columns, X const* x, Bias const* bias, Y* y) {
  std::int64_t const i = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i < n) y[i] = convert<Y>(convert<float>(x[i]) + convert<float>(bias[i % columns]));
}

/// y(rows, columns) = x + bias(columns); y may be x.
template <class X, class Bias, class Y>
void add_bias(Stream& stream, std::int64_t rows, std::int64_t columns, X const* x, Bias const* bias, Y* y) {
  FlatGrid const grid = flat_grid(stream, "add_bias", rows * columns);
  launch(stream, "add_bias", grid.blocks, grid.threads, add_bias_kernel<X, Bias, Y>, rows * columns, columns, x, bias,
         y);
}

template <class From, class To>
__global__ void widen_kernel(std::int64_t n, From const* x, To* y) {
  std::int64_t const i = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i < n) y[i] = convert<To>(x[i]);
}

/// y(n) = x(n) in a wider type.
template <class From, class To>
void widen(Stream& stream, std::int64_t n, From const* x, To* y) {
  FlatGrid const grid = flat_grid(stream, "widen", n);
  launch(stream, "widen", grid.blocks, grid.threads, widen_kernel<From, To>, n, x, y);
}

template <class T, class Y>
__global__ void matmul_kernel(bool trans_a, bool trans_b, std::int64_t m, std::int64_t n, std::int64_t k, T const* a,
                              T const* b, Y* y, bool add) {
  std::int64_t const i = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i >= m * n) return;
  std::int64_t const row = i / n, column = i % n;
  std::int64_t const start_a = trans_a ? row : row * k, step_a = trans_a ? m : 1;
  std::int64_t const start_b = trans_b ? column * k : column, step_b = trans_b ? 1 : n;
  float sum = 0;
  for (std::int64_t at = 0; at < k; ++at) {
    sum += convert<float>(a[start_a + at * step_a]) * convert<float>(b[start_b + at * step_b]);
  }
  y[i] = convert<Y>(add ? convert<float>(y[i]) + sum : sum);
}

template <class T, class Y>
void direct_matmul(Stream& stream, bool trans_a, bool trans_b, std::int64_t m, std::int64_t n, std::int64_t k,
                   T const* a, T const* b, Y* y, bool add = false) {
  FlatGrid const grid = flat_grid(stream, "matmul", m * n);
  launch(stream, "matmul", grid.blocks, grid.threads, matmul_kernel<T, Y>, trans_a, trans_b, m, n, k, a, b, y, add);
}

// One thread an element of y.
template <class T>
__global__ void conv2d_forward_kernel(ConvGeometry g, T const* x, T const* w, T const* bias, T* y) {
  std::int64_t const i = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i >= g.n * g.p * g.q * g.k) return;
  std::int64_t const k = i % g.k, q = i / g.k % g.q, p = i / (g.k * g.q) % g.p, n = i / (g.k * g.q * g.p);
  std::int64_t const channels = g.c / g.groups, first = k / (g.k / g.groups) * channels;
  float sum = 0;
  for (std::int64_t r = 0; r < g.r; ++r) {
    std::int64_t const h = p * g.stride - g.padding + r * g.dilation;
    if (h < 0 || h >= g.h) continue;
    for (std::int64_t s = 0; s < g.s; ++s) {
      std::int64_t const column = q * g.stride - g.padding + s * g.dilation;
      if (column < 0 || column >= g.w) continue;
      T const* const from = x + ((n * g.h + h) * g.w + column) * g.c + first;
      T const* const weight = w + ((k * g.r + r) * g.s + s) * channels;
      for (std::int64_t c = 0; c < channels; ++c) sum += convert<float>(from[c]) * convert<float>(weight[c]);
    }
  }
  if (bias != nullptr) sum += convert<float>(bias[k]);
  y[i] = convert<T>(sum);
}

// One thread an element of dx: it gathers from every output position whose window covers it.
template <class T>
__global__ void conv2d_backward_input_kernel(ConvGeometry g, T const* dy, T const* w, T* dx) {
  std::int64_t const i = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i >= g.n * g.h * g.w * g.c) return;
  std::int64_t const c = i % g.c, column = i / g.c % g.w, h = i / (g.c * g.w) % g.h, n = i / (g.c * g.w * g.h);
  std::int64_t const channels = g.c / g.groups, kernels = g.k / g.groups;
  std::int64_t const first = c / channels * kernels, inner = c % channels;
  float sum = 0;
  for (std::int64_t r = 0; r < g.r; ++r) {
    std::int64_t const from_row = h + g.padding - r * g.dilation;
    if (from_row < 0 || from_row % g.stride != 0 || from_row / g.stride >= g.p) continue;
    for (std::int64_t s = 0; s < g.s; ++s) {
      std::int64_t const from_column = column + g.padding - s * g.dilation;
      if (from_column < 0 || from_column % g.stride != 0 || from_column / g.stride >= g.q) continue;
      T const* const from = dy + ((n * g.p + from_row / g.stride) * g.q + from_column / g.stride) * g.k + first;
      for (std::int64_t k = 0; k < kernels; ++k) {
        sum += convert<float>(from[k]) * convert<float>(w[(((first + k) * g.r + r) * g.s + s) * channels + inner]);
      }
    }
  }
  dx[i] = convert<T>(sum);
}

inline constexpr int backward_weight_threads = 128;

// One block an element of dw: its threads take output positions in turn, and a tree in fixed order adds them up.
template <class T>
__global__ void conv2d_backward_weight_kernel(ConvGeometry g, T const* x, T const* dy, T* dw) {
  __shared__ float sums[backward_weight_threads];
  std::int64_t const i = blockIdx.x;
  std::int64_t const channels = g.c / g.groups;
  std::int64_t const inner = i % channels, s = i / channels % g.s, r = i / (channels * g.s) % g.r;
  std::int64_t const k = i / (channels * g.s * g.r), c = k / (g.k / g.groups) * channels + inner;
  float sum = 0;
  for (std::int64_t at = threadIdx.x; at < g.n * g.p * g.q; at += backward_weight_threads) {
    std::int64_t const q = at % g.q, p = at / g.q % g.p, n = at / (g.q * g.p);
    std::int64_t const h = p * g.stride - g.padding + r * g.dilation;
    std::int64_t const column = q * g.stride - g.padding + s * g.dilation;
    if (h < 0 || h >= g.h || column < 0 || column >= g.w) continue;
    sum += convert<float>(x[((n * g.h + h) * g.w + column) * g.c + c]) * convert<float>(dy[at * g.k + k]);
  }
  sums[threadIdx.x] = sum;
  for (int half = backward_weight_threads / 2; half > 0; half /= 2) {
    __syncthreads();
    if (threadIdx.x < half) sums[threadIdx.x] += sums[threadIdx.x + half];
  }
  if (threadIdx.x == 0) dw[i] = convert<T>(sums[0]);
}

template <class T>
void direct_conv2d_forward(Stream& stream, ConvGeometry const& g, T const* x, T const* w, T const* bias, T* y) {
  FlatGrid const grid = flat_grid(stream, "conv2d_forward", g.outputs());
  launch(stream, "conv2d_forward", grid.blocks, grid.threads, conv2d_forward_kernel<T>, g, x, w, bias, y);
}

template <class T>
void direct_conv2d_backward_input(Stream& stream, ConvGeometry const& g, T const* dy, T const* w, T* dx) {
  FlatGrid const grid = flat_grid(stream, "conv2d_backward_input", g.inputs());
  launch(stream, "conv2d_backward_input", grid.blocks, grid.threads, conv2d_backward_input_kernel<T>, g, dy, w, dx);
}

template <class T>
void direct_conv2d_backward_weight(Stream& stream, ConvGeometry const& g, T const* x, T const* dy, T* dw) {
  launch(stream, "conv2d_backward_weight", grid_extent("conv2d_backward_weight", g.weights()), backward_weight_threads,
         conv2d_backward_weight_kernel<T>, g, x, dy, dw);
}

}  // namespace mixprec::inline MIXPREC_ABI::cuda::detail
