// SPDX-License-Identifier: Apache-2.0
// Adaptive average pooling over several grids in one pass over the input: the bounds of all bins cut the image into
// rectangles, each of which is summed once; a bin is a sum of rectangles. Backward gathers in one pass too.
#pragma once

#include <string>

#include <mixprec/backend/cuda/pool.cuh>

namespace mixprec::inline MIXPREC_ABI::cuda {

namespace detail {

/// The pieces into which the bounds of all bins cut one axis: piece i is [bound[i], bound[i + 1]).
struct AxisPieces {
  static constexpr int most = PyramidGeometry::most_bounds - 1;
  int count = 0;
  int bound[most + 1] = {};

  AxisPieces(PyramidGeometry const& g, bool of_rows) {
    auto const add = [&](std::int64_t value) {
      int place = 0;
      while (place < count && bound[place] < value) ++place;
      if (place < count && bound[place] == value) return;
      if (count > most) {
        throw Error("cuda: pyramid_pool: the grids cut an axis into more than " + std::to_string(most) +
                    " pieces. Pool over fewer or coarser grids.");
      }
      for (int at = count++; at > place; --at) bound[at] = bound[at - 1];
      bound[place] = static_cast<int>(value);
    };
    for (int grid = 0; grid < g.grids; ++grid) {
      AdaptiveAxis const axis = of_rows ? g.rows(grid) : g.columns(grid);
      for (std::int64_t bin = 0; bin < axis.bins; ++bin) add(axis.begin(bin)), add(axis.end(bin));
    }
    --count;  // pieces lie between bounds
  }
  /// The first piece at or behind `at`.
  __device__ int find(std::int64_t at) const {
    int piece = 0;
    while (piece < count && bound[piece] < at) ++piece;
    return piece;
  }
};

/// Sums of the rectangles: (N, row pieces, column pieces, C). One thread a vector of channels of one rectangle.
template <int W, class X>
__global__ void pyramid_pool_pieces_kernel(std::int64_t items, PyramidGeometry g, AxisPieces rows, AxisPieces columns,
                                           X const* x, float* sums) {
  std::int64_t const item = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (item >= items) return;
  Split const by_channel = split(item, g.c / W);
  Split const by_column = split(by_channel.quotient, columns.count);
  Split const by_row = split(by_column.quotient, rows.count);
  int const left = columns.bound[by_column.remainder], right = columns.bound[by_column.remainder + 1];
  float sum[W] = {};
  for (int h = rows.bound[by_row.remainder]; h < rows.bound[by_row.remainder + 1]; ++h) {
    X const* const line = x + (by_row.quotient * g.h + h) * g.w * g.c + by_channel.remainder * W;
#pragma unroll 4
    for (int w = left; w < right; ++w) {
      Vector<X, W> const in = load<W>(line + w * g.c);
#pragma unroll
      for (int j = 0; j < W; ++j) sum[j] += convert<float>(in.element[j]);
    }
  }
  Vector<float, W> out;
#pragma unroll
  for (int j = 0; j < W; ++j) out.element[j] = sum[j];
  store<W>(sums + item * W, out);
}

/// The mean of each bin, from the sums of its rectangles.
template <int W, class Y>
__global__ void pyramid_pool_bins_kernel(std::int64_t items, PyramidGeometry g, AxisPieces rows, AxisPieces columns,
                                         float const* sums, Y* y) {
  std::int64_t const item = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (item >= items) return;
  Split const by_channel = split(item, g.c / W);
  Split const by_bin = split(by_channel.quotient, g.bins());
  int grid = 0;
  while (by_bin.remainder >= g.first_bin(grid + 1)) ++grid;
  int const position = static_cast<int>(by_bin.remainder) - g.first_bin(grid);
  int const p = position / g.grid[grid], q = position - p * g.grid[grid];
  AdaptiveAxis const vertical = g.rows(grid), horizontal = g.columns(grid);
  int const top = rows.find(vertical.begin(p)), bottom = rows.find(vertical.end(p));
  int const left = columns.find(horizontal.begin(q)), right = columns.find(horizontal.end(q));
  float sum[W] = {};
  for (int row = top; row < bottom; ++row) {
    float const* const line =
        sums + (by_bin.quotient * rows.count + row) * columns.count * g.c + by_channel.remainder * W;
    for (int column = left; column < right; ++column) {
      Vector<float, W> const in = load<W>(line + column * g.c);
#pragma unroll
      for (int j = 0; j < W; ++j) sum[j] += in.element[j];
    }
  }
  float const size = static_cast<float>(vertical.size(p) * horizontal.size(q));
  Vector<Y, W> out;
#pragma unroll
  for (int j = 0; j < W; ++j) out.element[j] = convert<Y>(sum[j] / size);
  store<W>(y + item * W, out);
}

template <int W, class Y, class X>
__global__ void pyramid_pool_backward_kernel(std::int64_t elements, PyramidGeometry g, Y const* dy, X* dx) {
  std::int64_t const item = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (item * W >= elements) return;
  PixelVector const at = pixel_vector<W>(item, g.h, g.w, g.c);
  Y const* const image = dy + at.image * g.bins() * g.c + at.channel;
  float total[W] = {};
  for (int grid = 0; grid < g.grids; ++grid) {
    AdaptiveAxis const rows = g.rows(grid), columns = g.columns(grid);
    std::int64_t const first = g.first_bin(grid);
    for (std::int64_t p = rows.first_over(at.row); p <= rows.last_over(at.row); ++p) {
      for (std::int64_t q = columns.first_over(at.column); q <= columns.last_over(at.column); ++q) {
        Vector<Y, W> const gradient = load<W>(image + (first + p * g.grid[grid] + q) * g.c);
        float const size = static_cast<float>(rows.size(p) * columns.size(q));
#pragma unroll
        for (int j = 0; j < W; ++j) total[j] += convert<float>(gradient.element[j]) / size;
      }
    }
  }
  Vector<X, W> out;
#pragma unroll
  for (int j = 0; j < W; ++j) out.element[j] = convert<X>(total[j]);
  store<W>(dx + item * W, out);
}

template <int W, class X, class Y>
void pyramid_pool_forward_with(Stream& stream, PyramidGeometry const& g, X const* x, Y* y) {
  AxisPieces const rows(g, true), columns(g, false);
  std::int64_t const pieces = g.n * rows.count * columns.count * g.c;
  auto* const sums = static_cast<float*>(stream.scratch(static_cast<std::size_t>(pieces) * sizeof(float)));
  FlatGrid const first = flat_grid(stream, "pyramid_pool_forward (pieces)", pieces / W);
  launch(stream, "pyramid_pool_forward (pieces)", first.blocks, first.threads, pyramid_pool_pieces_kernel<W, X>,
         pieces / W, g, rows, columns, x, sums);
  FlatGrid const second = flat_grid(stream, "pyramid_pool_forward (bins)", g.outputs() / W);
  launch(stream, "pyramid_pool_forward (bins)", second.blocks, second.threads, pyramid_pool_bins_kernel<W, Y>,
         g.outputs() / W, g, rows, columns, sums, y);
}

}  // namespace detail

/// The mean of each bin of each grid; x is read once. Precision: sums and division in float, one rounding.
template <floating_dtype X, floating_dtype Y>
void pyramid_pool_forward(Stream& stream, PyramidGeometry const& g, X const* x, Y* y) {
  if (g.outputs() == 0) return;
  constexpr int width = detail::vector_width<X, Y>;
  if (g.c % width == 0) {
    detail::pyramid_pool_forward_with<width>(stream, g, x, y);
  } else {
    detail::pyramid_pool_forward_with<1>(stream, g, x, y);
  }
}

/// dx = sum of dy / size over the bins of all grids that cover it. Precision: in float, one rounding.
template <floating_dtype Y, floating_dtype X>
void pyramid_pool_backward(Stream& stream, PyramidGeometry const& g, Y const* dy, X* dx) {
  constexpr int width = detail::vector_width<X, Y>;
  detail::launch_pixels(stream, "pyramid_pool_backward", g.inputs(), g.c, width,
                        detail::pyramid_pool_backward_kernel<1, Y, X>,
                        detail::pyramid_pool_backward_kernel<width, Y, X>, g, dy, dx);
}

}  // namespace mixprec::inline MIXPREC_ABI::cuda
