// SPDX-License-Identifier: Apache-2.0
// Copies between matrices of different widths: concatenation along channels, and its gradient.
#pragma once

#include <mixprec/backend/cuda/launch.cuh>
#include <mixprec/backend/cuda/vector.cuh>

namespace mixprec::inline MIXPREC_ABI::cuda {

namespace detail {

/// One thread copies W elements of a row; `columns` is a multiple of W.
template <int W, class X, class Y>
__global__ void copy_columns_kernel(std::int64_t vectors, std::int64_t columns, X const* x, std::int64_t x_stride, Y* y,
                                    std::int64_t y_stride) {
  std::int64_t const i = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i >= vectors) return;
  Split const at = split(i, columns / W);
  Vector<X, W> const in = load<W>(x + at.quotient * x_stride + at.remainder * W);
  Vector<Y, W> out;
#pragma unroll
  for (int j = 0; j < W; ++j) out.element[j] = convert<Y>(convert<float>(in.element[j]));
  store<W>(y + at.quotient * y_stride + at.remainder * W, out);
}

template <int W, class X, class Y>
void copy_columns(Stream& stream, std::int64_t rows, std::int64_t columns, X const* x, std::int64_t x_stride, Y* y,
                  std::int64_t y_stride) {
  std::int64_t const vectors = rows * (columns / W);
  if (vectors == 0) return;
  FlatGrid const grid = flat_grid(stream, "copy_columns", vectors);
  launch(stream, "copy_columns", grid.blocks, grid.threads, copy_columns_kernel<W, X, Y>, vectors, columns, x, x_stride,
         y, y_stride);
}

}  // namespace detail

/// y[row * y_stride + column] = x[row * x_stride + column] for `rows` rows of `columns` elements, rounded once. Sixteen
/// bytes at a time where both pointers, both strides and the width allow it.
template <floating_dtype X, floating_dtype Y>
void copy_columns(Stream& stream, std::int64_t rows, std::int64_t columns, X const* x, std::int64_t x_stride, Y* y,
                  std::int64_t y_stride) {
  constexpr int width = detail::vector_width<X, Y>;
  if (detail::takes_vectors<width>(columns, x_stride, x) && detail::takes_vectors<width>(columns, y_stride, y)) {
    detail::copy_columns<width>(stream, rows, columns, x, x_stride, y, y_stride);
  } else {
    detail::copy_columns<1>(stream, rows, columns, x, x_stride, y, y_stride);
  }
}

}  // namespace mixprec::inline MIXPREC_ABI::cuda
