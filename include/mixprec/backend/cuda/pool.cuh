// SPDX-License-Identifier: Apache-2.0
// Max, average and global average pooling over NHWC tensors; the backward passes gather, so that sums have one order.
#pragma once

#include <cmath>  // HUGE_VALF

#include <mixprec/backend/cuda/elementwise.cuh>
#include <mixprec/backend/cuda/reduction.cuh>
#include <mixprec/backend/geometry.hpp>

namespace mixprec::inline MIXPREC_ABI::cuda {

namespace detail {

/// One vector of channels of one pixel, as a thread's work.
struct PixelVector {
  std::int64_t image;
  int row, column;
  std::int64_t channel;
};
template <int W>
__device__ PixelVector pixel_vector(std::int64_t index, std::int64_t height, std::int64_t width, std::int64_t c) {
  Split const by_channel = split(index, c / W);
  Split const by_column = split(by_channel.quotient, width);
  Split const by_row = split(by_column.quotient, height);
  return {by_row.quotient, static_cast<int>(by_row.remainder), static_cast<int>(by_column.remainder),
          by_channel.remainder * W};
}

/// The part of an axis that a window covers, or the windows that cover a position: [first, last).
struct Range {
  int first, last;
};
__device__ inline Range window_positions(int window, int kernel, int stride, int padding, std::int64_t extent) {
  int const begin = window * stride - padding;
  return {max(begin, 0), static_cast<int>(min(std::int64_t{begin} + kernel, extent))};
}
__device__ inline Range windows_over(int position, int kernel, int stride, int padding, std::int64_t windows) {
  int const shifted = position + padding;
  int const first = shifted < kernel ? 0 : (shifted - kernel) / stride + 1;
  return {first, static_cast<int>(min(std::int64_t{shifted / stride + 1}, windows))};
}

/// Calls body(window, in) for the inputs under the window of output `at`, with their positions in the window, rising.
template <int W, class X, class Body>
__device__ void for_each_input_under(PoolGeometry const& g, PixelVector const& at, X const* x, Body const& body) {
  Range const rows = window_positions(at.row, g.kernel, g.stride, g.padding, g.h);
  Range const columns = window_positions(at.column, g.kernel, g.stride, g.padding, g.w);
  int const top = at.row * g.stride - g.padding, left = at.column * g.stride - g.padding;
  for (int row = rows.first; row < rows.last; ++row) {
    X const* const line = x + ((at.image * g.h + row) * g.w) * g.c + at.channel;
    for (int column = columns.first; column < columns.last; ++column) {
      body((row - top) * g.kernel + column - left, load<W>(line + column * g.c));
    }
  }
}

/// The first position in the window of output `at` that lies on an input.
__device__ inline int first_position(PoolGeometry const& g, PixelVector const& at) {
  return max(g.padding - at.row * g.stride, 0) * g.kernel + max(g.padding - at.column * g.stride, 0);
}

/// Calls body(window, from) for the windows that cover input `at`: its position in the window, and the window's output
/// as an element.
template <class Body>
__device__ void for_each_window_over(PoolGeometry const& g, PixelVector const& at, Body const& body) {
  Range const rows = windows_over(at.row, g.kernel, g.stride, g.padding, g.p);
  Range const columns = windows_over(at.column, g.kernel, g.stride, g.padding, g.q);
  for (int p = rows.first; p < rows.last; ++p) {
    for (int q = columns.first; q < columns.last; ++q) {
      int const window = (at.row - (p * g.stride - g.padding)) * g.kernel + at.column - (q * g.stride - g.padding);
      body(window, ((at.image * g.p + p) * g.q + q) * g.c + at.channel);
    }
  }
}

/// Channels a thread; one where windows are so large that the index has 32 bits, for which one kernel is enough.
template <class Index, class X, class Y>
inline constexpr int max_pool_width = sizeof(Index) == 1 ? vector_width<X, Y> : 1;

template <int W, class X, class Y, class Index>
__global__ void max_pool_forward_kernel(std::int64_t elements, PoolGeometry g, X const* x, Y* y, Index* index) {
  std::int64_t const item = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (item * W >= elements) return;
  PixelVector const at = pixel_vector<W>(item, g.p, g.q, g.c);
  float best[W];
  int position[W];
#pragma unroll
  for (int j = 0; j < W; ++j) {
    best[j] = -HUGE_VALF;
    position[j] = first_position(g, at);
  }
  for_each_input_under<W>(g, at, x, [&](int window, Vector<X, W> const& in) {
#pragma unroll
    for (int j = 0; j < W; ++j) {
      float const value = convert<float>(in.element[j]);
      if (value > best[j] || value != value) {
        best[j] = value;
        position[j] = window;
      }
    }
  });
  Vector<Y, W> out;
  Vector<Index, W> positions;
#pragma unroll
  for (int j = 0; j < W; ++j) {
    out.element[j] = convert<Y>(best[j]);
    positions.element[j] = static_cast<Index>(position[j]);
  }
  store<W>(y + item * W, out);
  if (index != nullptr) store<W>(index + item * W, positions);
}

template <int W, class Y, class Index, class X>
__global__ void max_pool_backward_kernel(std::int64_t elements, PoolGeometry g, Y const* dy, Index const* index,
                                         X* dx) {
  std::int64_t const item = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (item * W >= elements) return;
  PixelVector const at = pixel_vector<W>(item, g.h, g.w, g.c);
  float sum[W] = {};
  for_each_window_over(g, at, [&](int window, std::int64_t from) {
    Vector<Index, W> const positions = load<W>(index + from);
    Vector<Y, W> const gradient = load<W>(dy + from);
#pragma unroll
    for (int j = 0; j < W; ++j) {
      if (positions.element[j] == window) sum[j] += convert<float>(gradient.element[j]);
    }
  });
  Vector<X, W> out;
#pragma unroll
  for (int j = 0; j < W; ++j) out.element[j] = convert<X>(sum[j]);
  store<W>(dx + item * W, out);
}

template <int W, class X, class Y>
__global__ void avg_pool_forward_kernel(std::int64_t elements, PoolGeometry g, X const* x, Y* y) {
  std::int64_t const item = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (item * W >= elements) return;
  PixelVector const at = pixel_vector<W>(item, g.p, g.q, g.c);
  float sum[W] = {};
  for_each_input_under<W>(g, at, x, [&](int, Vector<X, W> const& in) {
#pragma unroll
    for (int j = 0; j < W; ++j) sum[j] += convert<float>(in.element[j]);
  });
  float const count = static_cast<float>(g.kernel * g.kernel);
  Vector<Y, W> out;
#pragma unroll
  for (int j = 0; j < W; ++j) out.element[j] = convert<Y>(sum[j] / count);
  store<W>(y + item * W, out);
}

template <int W, class Y, class X>
__global__ void avg_pool_backward_kernel(std::int64_t elements, PoolGeometry g, Y const* dy, X* dx) {
  std::int64_t const item = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (item * W >= elements) return;
  PixelVector const at = pixel_vector<W>(item, g.h, g.w, g.c);
  float sum[W] = {};
  for_each_window_over(g, at, [&](int, std::int64_t from) {
    Vector<Y, W> const gradient = load<W>(dy + from);
#pragma unroll
    for (int j = 0; j < W; ++j) sum[j] += convert<float>(gradient.element[j]);
  });
  float const count = static_cast<float>(g.kernel * g.kernel);
  Vector<X, W> out;
#pragma unroll
  for (int j = 0; j < W; ++j) out.element[j] = convert<X>(sum[j] / count);
  store<W>(dx + item * W, out);
}

inline constexpr int global_pool_unroll = 4;

/// One block has one slice of the channels of one image; the tiling's splits are not used.
template <int W, class X, class Y>
__global__ void __launch_bounds__(column_threads)
    global_avg_pool_forward_kernel(ColumnTiling tiling, std::int64_t hw, std::int64_t c, X const* x, Y* y) {
  int const thread = static_cast<int>(threadIdx.x);
  Split const block = split(blockIdx.x, tiling.slices);
  std::int64_t const image = block.quotient, slice = block.remainder * tiling.vectors() * W;
  std::int64_t const channel = slice + (thread & (tiling.vectors() - 1)) * W;
  int const lanes = static_cast<int>(blockDim.x) >> tiling.vectors_log2;
  float sum[1][W] = {};
  if (channel < c) {
    X const* const from = x + image * hw * c + channel;
    for (std::int64_t row = thread >> tiling.vectors_log2; row < hw; row += lanes * global_pool_unroll) {
      Vector<X, W> in[global_pool_unroll];
#pragma unroll
      for (int u = 0; u < global_pool_unroll; ++u) {
        if (row + u * lanes < hw) in[u] = load<W>(from + (row + u * lanes) * c);
      }
#pragma unroll
      for (int u = 0; u < global_pool_unroll; ++u) {
        if (row + u * lanes >= hw) break;
#pragma unroll
        for (int j = 0; j < W; ++j) sum[0][j] += convert<float>(in[u].element[j]);
      }
    }
  }
  float total[1];
  bool const has_total = merge_lanes(tiling.vectors(), sum, total);
  if (has_total && slice + thread < c) y[image * c + slice + thread] = convert<Y>(total[0] / static_cast<float>(hw));
}

template <int W, class Y, class X>
__global__ void global_avg_pool_backward_kernel(std::int64_t elements, std::int64_t hw, std::int64_t c, Y const* dy,
                                                X* dx) {
  std::int64_t const item = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (item * W >= elements) return;
  Split const by_channel = split(item, c / W);
  Split const by_pixel = split(by_channel.quotient, hw);
  Vector<Y, W> const gradient = load<W>(dy + by_pixel.quotient * c + by_channel.remainder * W);
  Vector<X, W> out;
#pragma unroll
  for (int j = 0; j < W; ++j) {
    out.element[j] = convert<X>(convert<float>(gradient.element[j]) / static_cast<float>(hw));
  }
  store<W>(dx + item * W, out);
}

template <int W, class X, class Y>
void global_avg_pool_forward_with(Stream& stream, std::int64_t n, std::int64_t hw, std::int64_t c, X const* x, Y* y) {
  ColumnTiling const tiling = tile_columns<W>(stream, hw, c, global_pool_unroll);
  // Few pixels: small blocks, so that most threads have some.
  int threads = column_threads;
  while (threads > 64 && std::int64_t{threads / 2 / tiling.vectors()} * global_pool_unroll >= hw) threads /= 2;
  launch(stream, "global_avg_pool2d_forward", grid_extent("global_avg_pool2d_forward", n * tiling.slices), threads,
         global_avg_pool_forward_kernel<W, X, Y>, tiling, hw, c, x, y);
}

/// Launches a kernel that takes one vector of W elements a thread, W = 1 where the channels do not divide.
template <class Narrow, class Wide, class... Arguments>
void launch_pixels(Stream& stream, char const* name, std::int64_t elements, std::int64_t c, int width, Narrow narrow,
                   Wide wide, Arguments const&... arguments) {
  if (elements == 0) return;
  bool const whole = width > 1 && c % width == 0;
  FlatGrid const grid = flat_grid(stream, name, whole ? elements / width : elements);
  launch(stream, name, grid.blocks, grid.threads, whole ? wide : narrow, elements, arguments...);
}

}  // namespace detail

/// Maximum over each window. `index`, where given, gets the position in the window (row * kernel + column) of the first
/// maximum; NaN wins. Shapes: x (N,H,W,C), y and index (N,P,Q,C). Errors: a kernel with more positions than `Index` can
/// number.
template <floating_dtype X, floating_dtype Y, window_index Index>
void max_pool2d_forward(Stream& stream, PoolGeometry const& g, X const* x, Y* y, Index* index) {
  if (index != nullptr && g.kernel > largest_kernel<Index>) {
    throw Error("max_pool2d: a window of " + std::to_string(g.kernel) + " x " + std::to_string(g.kernel) +
                " has more positions than an index of " + std::to_string(sizeof(Index)) +
                " bytes can number. Use a wider index.");
  }
  constexpr int width = detail::max_pool_width<Index, X, Y>;
  detail::launch_pixels(stream, "max_pool2d_forward", g.outputs(), g.c, width,
                        detail::max_pool_forward_kernel<1, X, Y, Index>,
                        detail::max_pool_forward_kernel<width, X, Y, Index>, g, x, y, index);
}

/// dx = sum of dy over the windows whose maximum lies there; float sums, one rounding.
template <floating_dtype Y, window_index Index, floating_dtype X>
void max_pool2d_backward(Stream& stream, PoolGeometry const& g, Y const* dy, Index const* index, X* dx) {
  constexpr int width = detail::max_pool_width<Index, X, Y>;
  detail::launch_pixels(stream, "max_pool2d_backward", g.inputs(), g.c, width,
                        detail::max_pool_backward_kernel<1, Y, Index, X>,
                        detail::max_pool_backward_kernel<width, Y, Index, X>, g, dy, index, dx);
}

/// Mean over each window, padding counted as zeros.
template <floating_dtype X, floating_dtype Y>
void avg_pool2d_forward(Stream& stream, PoolGeometry const& g, X const* x, Y* y) {
  constexpr int width = detail::vector_width<X, Y>;
  detail::launch_pixels(stream, "avg_pool2d_forward", g.outputs(), g.c, width, detail::avg_pool_forward_kernel<1, X, Y>,
                        detail::avg_pool_forward_kernel<width, X, Y>, g, x, y);
}

/// dx = sum of dy over the windows that cover it, over kernel^2.
template <floating_dtype Y, floating_dtype X>
void avg_pool2d_backward(Stream& stream, PoolGeometry const& g, Y const* dy, X* dx) {
  constexpr int width = detail::vector_width<X, Y>;
  detail::launch_pixels(stream, "avg_pool2d_backward", g.inputs(), g.c, width,
                        detail::avg_pool_backward_kernel<1, Y, X>, detail::avg_pool_backward_kernel<width, Y, X>, g, dy,
                        dx);
}

/// Mean over all pixels. Shapes: x (n, hw, c), y (n, c). Precision: float sums in a fixed order, one rounding.
template <floating_dtype X, floating_dtype Y>
void global_avg_pool2d_forward(Stream& stream, std::int64_t n, std::int64_t hw, std::int64_t c, X const* x, Y* y) {
  if (n == 0 || c == 0) return;
  constexpr int width = detail::vector_width<X>;
  if (c % width == 0) {
    detail::global_avg_pool_forward_with<width>(stream, n, hw, c, x, y);
  } else {
    detail::global_avg_pool_forward_with<1>(stream, n, hw, c, x, y);
  }
}

/// dx(n, i, c) = dy(n, c) / hw.
template <floating_dtype Y, floating_dtype X>
void global_avg_pool2d_backward(Stream& stream, std::int64_t n, std::int64_t hw, std::int64_t c, Y const* dy, X* dx) {
  constexpr int width = detail::vector_width<X, Y>;
  detail::launch_pixels(stream, "global_avg_pool2d_backward", n * hw * c, c, width,
                        detail::global_avg_pool_backward_kernel<1, Y, X>,
                        detail::global_avg_pool_backward_kernel<width, Y, X>, hw, c, dy, dx);
}

}  // namespace mixprec::inline MIXPREC_ABI::cuda
