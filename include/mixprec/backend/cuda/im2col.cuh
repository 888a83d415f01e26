// SPDX-License-Identifier: Apache-2.0
// Convolutions as matrix products: 1x1 ones as they lie, others through columns (im2col): a matrix with a row for each
// output pixel, which holds the window under it. The tuner times them beside cuDNN's engines.
#pragma once

#include <algorithm>  // std::clamp, std::max, std::min
#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <vector>

#include <mixprec/backend/cuda/conv_plan.hpp>
#include <mixprec/backend/cuda/launch.cuh>
#include <mixprec/backend/cuda/matmul.hpp>
#include <mixprec/backend/cuda/own_conv.hpp>
#include <mixprec/backend/cuda/stream.hpp>
#include <mixprec/backend/cuda/vector.cuh>
#include <mixprec/backend/geometry.hpp>
#include <mixprec/dtype/dtype.hpp>

namespace mixprec::inline MIXPREC_ABI::cuda::detail {

/// What the columns of one product may take, unless one row of y needs more.
inline constexpr std::size_t enough_column_bytes = std::size_t{128} << 20;

/// `value`, or less where as many steps through `total` are then of more equal length.
constexpr std::int64_t even_step(std::int64_t total, std::int64_t value) {
  return divide_up(total, divide_up(total, std::clamp<std::int64_t>(value, 1, total)));
}

/// What lies in memory at a time: columns of some taps under some rows of y, behind `before` elements of weights.
struct Columns {
  std::int64_t rows = 0, taps = 0, before = 0;

  constexpr std::size_t bytes(ConvGeometry const& g) const {
    return static_cast<std::size_t>(before + rows * taps * g.q * g.c) * sizeof(float);
  }
};

/// As much as fits into `room` bytes; rows = 0 where nothing does. Taps go apart where `taps_apart`, and only where
/// products of all of them would have too few rows for tiles of 128x128 to fill the GPU twice.
inline Columns columns_at_once(ConvGeometry const& g, std::size_t room, int multiprocessors, std::int64_t before,
                               bool taps_apart) {
  std::int64_t const rows = g.n * g.p, taps = g.r * g.s;
  auto const row_of_a_tap = static_cast<std::size_t>(g.q * g.c) * sizeof(float);
  std::size_t const weights = static_cast<std::size_t>(before) * sizeof(float);
  std::size_t const least = row_of_a_tap * static_cast<std::size_t>(taps_apart ? 1 : taps);
  if (room < weights + least) return {};
  auto const fitting =
      static_cast<std::int64_t>(std::min(room - weights, std::max(least, enough_column_bytes)) / row_of_a_tap);
  std::int64_t const filling = std::min(divide_up(std::int64_t{2} * 128 * 128 * multiprocessors, g.q * g.k), rows);
  std::int64_t const together = taps_apart ? even_step(taps, fitting / filling) : taps;
  return {even_step(rows, fitting / together), together, before};
}

/// The same within the workspace cap, beside what cuBLASLt may take.
inline Columns columns_at_once(Stream const& stream, ConvGeometry const& g, std::int64_t before, bool taps_apart) {
  return columns_at_once(g, stream.workspace_cap() - matmul_workspace(stream), stream.multiprocessors(), before,
                         taps_apart);
}

/// Memory of the library workspace behind the part that cuBLASLt may use meanwhile.
inline float* column_memory(Stream& stream, std::size_t bytes) {
  std::size_t const reserved = matmul_workspace(stream);
  return reinterpret_cast<float*>(static_cast<char*>(stream.workspace(reserved + bytes)) + reserved);
}

/// columns(rows*Q, taps, C) from x(N,H,W,C), zero where a tap lies outside. A block has one row of y and one tap, a
/// thread `Width` channels, of which C is a multiple.
template <int Width>
__global__ void gather_columns_kernel(ConvGeometry g, std::int64_t first_row, std::int64_t first_tap, float const* x,
                                      float* columns) {
  Split const at = split(first_row + blockIdx.x, g.p), tap = split(first_tap + blockIdx.y, g.s);
  std::int64_t const h = at.remainder * g.stride - g.padding + tap.quotient * g.dilation;
  bool const inside = h >= 0 && h < g.h;
  float const* const source = x + (at.quotient * g.h + (inside ? h : 0)) * g.w * g.c;
  float* const target = columns + (blockIdx.x * g.q * gridDim.y + blockIdx.y) * g.c;
  std::int64_t const vectors = g.c / Width;
  for (std::int64_t i = threadIdx.x; i < g.q * vectors; i += blockDim.x) {
    Split const pixel = split(i, vectors);
    std::int64_t const w = pixel.quotient * g.stride - g.padding + tap.remainder * g.dilation;
    Vector<float, Width> value{};
    if (inside && w >= 0 && w < g.w) value = load<Width>(source + w * g.c + pixel.remainder * Width);
    store<Width>(target + pixel.quotient * gridDim.y * g.c + pixel.remainder * Width, value);
  }
}

/// Gathers `most` at a time and calls body(rows of y, the first of them, taps, the first of them) until all had their
/// turn, the taps of a row one after the other.
template <class Body>
void for_columns(Stream& stream, ConvGeometry const& g, Columns const& most, float const* x, float* columns,
                 Body const& body) {
  for (std::int64_t row = 0; row < g.n * g.p; row += most.rows) {
    for (std::int64_t tap = 0; tap < g.r * g.s; tap += most.taps) {
      std::int64_t const rows = std::min(most.rows, g.n * g.p - row), taps = std::min(most.taps, g.r * g.s - tap);
      dim3 const grid(grid_extent("gather_columns", rows), static_cast<unsigned>(taps));
      bool const vectors = takes_vectors<4>(g.c, 0, x);
      launch(stream, "gather_columns", grid, 256, vectors ? gather_columns_kernel<4> : gather_columns_kernel<1>, g, row,
             tap, x, columns);
      body(rows, row, taps, tap);
    }
  }
}

/// Weights w(K,R,S,C) with the taps first: (R,S,C,K), or turned (R,S,K,C) with the taps in reverse.
template <class T>
__global__ void taps_first_kernel(ConvGeometry g, bool turned, T const* w, T* result) {
  std::int64_t const i = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x, taps = g.r * g.s;
  if (i >= taps * g.k * g.c) return;
  Split const row = split(i, turned ? g.c : g.k);
  Split const tap = split(row.quotient, turned ? g.k : g.c);
  std::int64_t const k = turned ? tap.remainder : row.remainder, c = turned ? row.remainder : tap.remainder;
  result[i] = w[(k * taps + (turned ? taps - 1 - tap.quotient : tap.quotient)) * g.c + c];
}

/// The convolution that makes dx(N,H,W,C) from dy(N,P,Q,K): square windows, stride 1. Its padding may be negative.
constexpr ConvGeometry transposed(ConvGeometry const& g) {
  ConvGeometry result = g;
  result.h = g.p, result.w = g.q, result.c = g.k;
  result.p = g.h, result.q = g.w, result.k = g.c;
  result.padding = static_cast<int>(g.dilation * (g.r - 1)) - g.padding;
  return result;
}

/// The columns of an operation: of x, or of dy for the gradient of x; rows = 0 where columns cannot serve it.
inline Columns columns_of(Stream const& stream, ConvOp op, ConvGeometry const& g) {
  constexpr std::int64_t most_taps = 65535;  // a grid's extent in y
  if (g.groups != 1 || g.inputs() == 0 || g.outputs() == 0) return {};
  if (g.r * g.s > most_taps || g.n * std::max(g.h, g.p) > INT32_MAX) return {};
  if (op == ConvOp::backward_weight) return columns_at_once(stream, g, 0, false);
  std::int64_t const weights = divide_up(g.weights(), 4) * 4;  // so many that the columns behind them are aligned
  if (op == ConvOp::forward) return columns_at_once(stream, g, weights, true);
  if (op == ConvOp::backward_input && g.stride == 1 && g.r == g.s) {
    return columns_at_once(stream, transposed(g), weights, true);
  }
  return {};
}

/// Convolves x with g, whose weights are w's of `original`, `turned` or not.
inline void columns_convolve(Stream& stream, ConvGeometry const& g, Columns const& most, ConvGeometry const& original,
                             bool turned, float const* x, float const* w, float* y) {
  float* const weights = column_memory(stream, most.bytes(g));
  float* const columns = weights + most.before;
  FlatGrid const grid = flat_grid(stream, "taps_first", original.weights());
  launch(stream, "taps_first", grid.blocks, grid.threads, taps_first_kernel<float>, original, turned, w, weights);
  for_columns(stream, g, most, x, columns, [&](auto rows, auto row, auto taps, auto tap) {
    matmul(stream, false, false, rows * g.q, g.k, taps * g.c, static_cast<float const*>(columns),
           static_cast<float const*>(weights + tap * g.c * g.k), y + row * g.q * g.k,
           tap == 0 ? Store::overwrite : Store::add);
  });
}
inline void columns_forward(Stream& stream, ConvGeometry const& g, float const* x, float const* w, float* y) {
  columns_convolve(stream, g, columns_of(stream, ConvOp::forward, g), g, false, x, w, y);
}
inline void columns_dgrad(Stream& stream, ConvGeometry const& g, float const* dy, float const* w, float* dx) {
  columns_convolve(stream, transposed(g), columns_of(stream, ConvOp::backward_input, g), g, true, dy, w, dx);
}
inline void columns_wgrad(Stream& stream, ConvGeometry const& g, float const* x, float const* dy, float* dw) {
  Columns const most = columns_of(stream, ConvOp::backward_weight, g);
  float* const columns = column_memory(stream, most.bytes(g));
  for_columns(stream, g, most, x, columns, [&](auto rows, auto row, auto taps, auto) {
    matmul(stream, true, false, g.k, taps * g.c, rows * g.q, dy + row * g.q * g.k, static_cast<float const*>(columns),
           dw, row == 0 ? Store::overwrite : Store::add);
  });
}

template <class T>
void pointwise_forward(Stream& stream, ConvGeometry const& g, T const* x, T const* w, T* y) {
  matmul(stream, false, true, g.n * g.h * g.w, g.k, g.c, x, w, y);
}
template <class T>
void pointwise_dgrad(Stream& stream, ConvGeometry const& g, T const* dy, T const* w, T* dx) {
  matmul(stream, false, false, g.n * g.h * g.w, g.c, g.k, dy, w, dx);
}
template <class T>
void pointwise_wgrad(Stream& stream, ConvGeometry const& g, T const* x, T const* dy, T* dw) {
  matmul(stream, true, false, g.k, g.c, g.n * g.h * g.w, dy, x, dw);
}

/// Adds what can serve a convolution as a product: 1x1 ones of every dtype, and in float, where vendors' engines that
/// keep all bits are slow, others whose columns fit the workspace cap. None adds a bias.
template <class T>
void add_products(Stream const& stream, ConvOp op, ConvGeometry const& g, std::vector<OwnConv>& result) {
  using enum ConvOp;
  if (g.r == 1 && g.s == 1 && g.stride == 1 && g.padding == 0 && g.groups == 1) {
    std::size_t const bytes = matmul_workspace(stream);
    if (op == forward)
      result.push_back(own_conv<T, forward, pointwise_forward<T>>(OwnConvNumber::pointwise_forward, "product", bytes));
    if (op == backward_input)
      result.push_back(
          own_conv<T, backward_input, pointwise_dgrad<T>>(OwnConvNumber::pointwise_dgrad, "product", bytes));
    if (op == backward_weight)
      result.push_back(
          own_conv<T, backward_weight, pointwise_wgrad<T>>(OwnConvNumber::pointwise_wgrad, "product", bytes));
    return;
  }
  if constexpr (std::is_same_v<T, float>) {
    Columns const columns = columns_of(stream, op, g);
    if (columns.rows == 0) return;
    std::size_t const bytes = matmul_workspace(stream) + columns.bytes(op == backward_input ? transposed(g) : g);
    if (op == forward)
      result.push_back(own_conv<T, forward, columns_forward>(OwnConvNumber::columns_forward, "columns", bytes));
    if (op == backward_input)
      result.push_back(own_conv<T, backward_input, columns_dgrad>(OwnConvNumber::columns_dgrad, "columns", bytes));
    if (op == backward_weight)
      result.push_back(own_conv<T, backward_weight, columns_wgrad>(OwnConvNumber::columns_wgrad, "columns", bytes));
  }
}

}  // namespace mixprec::inline MIXPREC_ABI::cuda::detail
