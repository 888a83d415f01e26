// SPDX-License-Identifier: Apache-2.0
// Softmax and log-softmax over the last axis: a warp for a short row, a block for a long one; each row is read twice
// and the second time comes from cache.
#pragma once

#include <cfloat>

#include <mixprec/backend/cuda/launch.cuh>
#include <mixprec/backend/cuda/vector.cuh>

namespace mixprec::inline MIXPREC_ABI::cuda {

namespace detail {

inline constexpr int softmax_threads = 256;

/// Rows up to this length get a warp each.
inline constexpr std::int64_t warp_row_limit = 1024;

/// The sum, or with Max the maximum, over a group of threads (a warp or the whole block), known to all of them.
template <int Group, bool Max>
__device__ float group_reduce(float value) {
#pragma unroll
  for (int offset = 16; offset > 0; offset /= 2) {
    float const other = __shfl_xor_sync(~0u, value, offset);
    value = Max ? fmaxf(value, other) : value + other;
  }
  if constexpr (Group > 32) {
    __shared__ float warps[Group / 32];
    __syncthreads();  // an earlier call's readers are done
    if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = value;
    __syncthreads();
    value = warps[0];
#pragma unroll
    for (int warp = 1; warp < Group / 32; ++warp) value = Max ? fmaxf(value, warps[warp]) : value + warps[warp];
  }
  return value;
}

/// A row's maximum, and the sum of exp(x - maximum).
struct RowExponentials {
  float maximum, sum;
};

/// One pass over the row by one group. The maximum starts at the lowest finite float, so that a row of -inf only sums
/// to 0 (and its softmax is NaN, as PyTorch's), and a NaN enters the sum.
template <int Group, int W, class X>
__device__ RowExponentials row_exponentials(X const* row, std::int64_t cols) {
  int const thread = static_cast<int>(threadIdx.x) % Group;
  float maximum = -FLT_MAX, sum = 0.0f;
#pragma unroll 2
  for (std::int64_t i = thread * W; i < cols; i += Group * W) {
    Vector<X, W> const in = load<W>(row + i);
    float highest = maximum;
#pragma unroll
    for (int j = 0; j < W; ++j) highest = fmaxf(highest, convert<float>(in.element[j]));
    sum *= expf(maximum - highest);
    maximum = highest;
#pragma unroll
    for (int j = 0; j < W; ++j) sum += expf(convert<float>(in.element[j]) - maximum);
  }
  float const highest = group_reduce<Group, true>(maximum);
  return {highest, group_reduce<Group, false>(sum * expf(maximum - highest))};
}

template <int Group, int W, class X, class Y>
__global__ void __launch_bounds__(softmax_threads)
    softmax_forward_kernel(std::int64_t rows, std::int64_t cols, bool log, X const* x, Y* y) {
  std::int64_t const row = std::int64_t{blockIdx.x} * (softmax_threads / Group) + threadIdx.x / Group;
  if (row >= rows) return;
  x += row * cols;
  y += row * cols;
  RowExponentials const of = row_exponentials<Group, W>(x, cols);
  float const log_sum = logf(of.sum), inverse = 1.0f / of.sum;
  for (std::int64_t i = static_cast<int>(threadIdx.x) % Group * W; i < cols; i += Group * W) {
    Vector<X, W> const in = load<W>(x + i);
    Vector<Y, W> out;
#pragma unroll
    for (int j = 0; j < W; ++j) {
      float const exponent = convert<float>(in.element[j]) - of.maximum;
      out.element[j] = convert<Y>(log ? exponent - log_sum : expf(exponent) * inverse);
    }
    store<W>(y + i, out);
  }
}

template <int Group, int W, class Y, class X>
__global__ void __launch_bounds__(softmax_threads)
    softmax_backward_kernel(std::int64_t rows, std::int64_t cols, bool log, Y const* y, Y const* dy, X* dx) {
  std::int64_t const row = std::int64_t{blockIdx.x} * (softmax_threads / Group) + threadIdx.x / Group;
  if (row >= rows) return;
  y += row * cols;
  dy += row * cols;
  dx += row * cols;
  int const first = static_cast<int>(threadIdx.x) % Group * W;
  float sum = 0.0f;
#pragma unroll 2
  for (std::int64_t i = first; i < cols; i += Group * W) {
    Vector<Y, W> const result = load<W>(y + i), gradient = load<W>(dy + i);
#pragma unroll
    for (int j = 0; j < W; ++j) {
      float const g = convert<float>(gradient.element[j]);
      sum += log ? g : g * convert<float>(result.element[j]);
    }
  }
  sum = group_reduce<Group, false>(sum);
  for (std::int64_t i = first; i < cols; i += Group * W) {
    Vector<Y, W> const result = load<W>(y + i), gradient = load<W>(dy + i);
    Vector<X, W> out;
#pragma unroll
    for (int j = 0; j < W; ++j) {
      float const value = convert<float>(result.element[j]), g = convert<float>(gradient.element[j]);
      out.element[j] = convert<X>(log ? g - expf(value) * sum : value * (g - sum));
    }
    store<W>(dx + i, out);
  }
}

/// Calls run<Group, W>(blocks) with the group and the vector width that fit rows of `cols` elements.
template <int W, class Run>
void for_rows(char const* name, std::int64_t rows, std::int64_t cols, Run const& run) {
  if (rows == 0 || cols == 0) return;
  bool const whole = cols % W == 0;
  if (cols <= warp_row_limit) {
    unsigned const blocks = grid_extent(name, divide_up(rows, softmax_threads / 32));
    if (whole) {
      run.template operator()<32, W>(blocks);
    } else {
      run.template operator()<32, 1>(blocks);
    }
  } else {
    unsigned const blocks = grid_extent(name, rows);
    if (whole) {
      run.template operator()<softmax_threads, W>(blocks);
    } else {
      run.template operator()<softmax_threads, 1>(blocks);
    }
  }
}

}  // namespace detail

/// y = softmax(x) over the last axis, or its logarithm where `log`. Shapes: x, y (rows, cols).
/// Precision: float arithmetic, one rounding.
template <floating_dtype X, floating_dtype Y>
void softmax_forward(Stream& stream, std::int64_t rows, std::int64_t cols, bool log, X const* x, Y* y) {
  detail::for_rows<detail::vector_width<X, Y>>(
      "softmax_forward", rows, cols, [&]<int group, int width>(unsigned blocks) {
        detail::launch(stream, "softmax_forward", blocks, detail::softmax_threads,
                       detail::softmax_forward_kernel<group, width, X, Y>, rows, cols, log, x, y);
      });
}

/// dx = y * (dy - sum of y * dy), or dy - exp(y) * (sum of dy) where `log`; y is the forward's result.
template <floating_dtype Y, floating_dtype X>
void softmax_backward(Stream& stream, std::int64_t rows, std::int64_t cols, bool log, Y const* y, Y const* dy, X* dx) {
  detail::for_rows<detail::vector_width<X, Y>>(
      "softmax_backward", rows, cols, [&]<int group, int width>(unsigned blocks) {
        detail::launch(stream, "softmax_backward", blocks, detail::softmax_threads,
                       detail::softmax_backward_kernel<group, width, Y, X>, rows, cols, log, y, dy, dx);
      });
}

}  // namespace mixprec::inline MIXPREC_ABI::cuda
