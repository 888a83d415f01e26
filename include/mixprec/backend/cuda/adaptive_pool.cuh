// SPDX-License-Identifier: Apache-2.0
// Adaptive average pooling over NHWC tensors: a block a bin and slice of channels forward, a thread a vector backward.
#pragma once

#include <mixprec/backend/cuda/pool.cuh>
#include <mixprec/backend/cuda/reduction.cuh>

namespace mixprec::inline MIXPREC_ABI::cuda {

namespace detail {

template <int W, class X, class Y>
__global__ void __launch_bounds__(column_threads)
    adaptive_avg_pool_forward_kernel(ColumnTiling tiling, AdaptivePoolGeometry g, X const* x, Y* y) {
  int const thread = static_cast<int>(threadIdx.x);
  Split const by_slice = split(blockIdx.x, tiling.slices);
  Split const by_column = split(by_slice.quotient, g.columns.bins);
  Split const by_row = split(by_column.quotient, g.rows.bins);
  std::int64_t const image = by_row.quotient, p = by_row.remainder, q = by_column.remainder;
  std::int64_t const top = g.rows.begin(p), left = g.columns.begin(q), width = g.columns.size(q);
  std::int64_t const pixels = g.rows.size(p) * width;
  std::int64_t const slice = by_slice.remainder * tiling.vectors() * W;
  std::int64_t const channel = slice + (thread & (tiling.vectors() - 1)) * W;
  int const lanes = static_cast<int>(blockDim.x) >> tiling.vectors_log2;
  float sum[1][W] = {};
  if (channel < g.c) {
    X const* const from = x + image * g.rows.extent * g.columns.extent * g.c + channel;
    for (std::int64_t pixel = thread >> tiling.vectors_log2; pixel < pixels; pixel += lanes) {
      Split const at = split(pixel, width);
      Vector<X, W> const in = load<W>(from + ((top + at.quotient) * g.columns.extent + left + at.remainder) * g.c);
#pragma unroll
      for (int j = 0; j < W; ++j) sum[0][j] += convert<float>(in.element[j]);
    }
  }
  float total[1];
  bool const has_total = merge_lanes(tiling.vectors(), sum, total);
  if (has_total && slice + thread < g.c) {
    y[by_slice.quotient * g.c + slice + thread] = convert<Y>(total[0] / static_cast<float>(pixels));
  }
}

template <int W, class Y, class X>
__global__ void adaptive_avg_pool_backward_kernel(std::int64_t elements, AdaptivePoolGeometry g, Y const* dy, X* dx) {
  std::int64_t const item = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (item * W >= elements) return;
  Split const by_channel = split(item, g.c / W);
  Split const by_column = split(by_channel.quotient, g.columns.extent);
  Split const by_row = split(by_column.quotient, g.rows.extent);
  std::int64_t const h = by_row.remainder, w = by_column.remainder;
  float total[W] = {};
  for (std::int64_t p = g.rows.first_over(h); p <= g.rows.last_over(h); ++p) {
    for (std::int64_t q = g.columns.first_over(w); q <= g.columns.last_over(w); ++q) {
      std::int64_t const bin = (by_row.quotient * g.rows.bins + p) * g.columns.bins + q;
      Vector<Y, W> const gradient = load<W>(dy + bin * g.c + by_channel.remainder * W);
      float const size = static_cast<float>(g.rows.size(p) * g.columns.size(q));
#pragma unroll
      for (int j = 0; j < W; ++j) total[j] += convert<float>(gradient.element[j]) / size;
    }
  }
  Vector<X, W> out;
#pragma unroll
  for (int j = 0; j < W; ++j) out.element[j] = convert<X>(total[j]);
  store<W>(dx + item * W, out);
}

template <int W, class X, class Y>
void adaptive_avg_pool_forward_with(Stream& stream, AdaptivePoolGeometry const& g, X const* x, Y* y) {
  std::int64_t const window = (g.rows.extent / g.rows.bins + 1) * (g.columns.extent / g.columns.bins + 1);
  ColumnTiling const tiling = tile_columns<W>(stream, window, g.c, 1);
  int threads = column_threads;
  while (threads > 64 && std::int64_t{threads / 2 / tiling.vectors()} >= window) threads /= 2;
  std::int64_t const blocks = g.n * g.rows.bins * g.columns.bins * tiling.slices;
  launch(stream, "adaptive_avg_pool2d_forward", grid_extent("adaptive_avg_pool2d_forward", blocks), threads,
         adaptive_avg_pool_forward_kernel<W, X, Y>, tiling, g, x, y);
}

}  // namespace detail

/// The mean of each bin. Precision: sums and division in float, one rounding.
template <floating_dtype X, floating_dtype Y>
void adaptive_avg_pool2d_forward(Stream& stream, AdaptivePoolGeometry const& g, X const* x, Y* y) {
  if (g.outputs() == 0) return;
  constexpr int width = detail::vector_width<X>;
  if (g.c % width == 0) {
    detail::adaptive_avg_pool_forward_with<width>(stream, g, x, y);
  } else {
    detail::adaptive_avg_pool_forward_with<1>(stream, g, x, y);
  }
}

/// dx = sum of dy / size over the bins that cover it. Precision: in float, one rounding.
template <floating_dtype Y, floating_dtype X>
void adaptive_avg_pool2d_backward(Stream& stream, AdaptivePoolGeometry const& g, Y const* dy, X* dx) {
  constexpr int width = detail::vector_width<X, Y>;
  detail::launch_pixels(stream, "adaptive_avg_pool2d_backward", g.inputs(), g.c, width,
                        detail::adaptive_avg_pool_backward_kernel<1, Y, X>,
                        detail::adaptive_avg_pool_backward_kernel<width, Y, X>, g, dy, dx);
}

}  // namespace mixprec::inline MIXPREC_ABI::cuda
