// SPDX-License-Identifier: Apache-2.0
// Changes of memory order: NHWC to NCHW and back, and general permutations. Values are copied, never converted.
#pragma once

#include <string>

#include <mixprec/backend/cpu/partition.hpp>
#include <mixprec/error.hpp>

namespace mixprec::inline MIXPREC_ABI::cpu {

namespace detail {
/// y(n, columns, rows) = transposed x(n, rows, columns), in tiles that stay in the first-level cache.
template <class T>
void transpose(Stream& stream, std::int64_t n, std::int64_t rows, std::int64_t columns, T const* x, T* y) {
  constexpr std::int64_t tile = 32;
  std::int64_t const row_tiles = (rows + tile - 1) / tile;
  parallel_for(stream, n * row_tiles, row_grain(tile * columns), [=](std::int64_t begin, std::int64_t end) {
    for (std::int64_t task = begin; task < end; ++task) {
      T const* __restrict from = x + task / row_tiles * rows * columns;
      T* __restrict to = y + task / row_tiles * rows * columns;
      std::int64_t const first = task % row_tiles * tile, last = std::min(rows, first + tile);
      for (std::int64_t column = 0; column < columns; column += tile) {
        for (std::int64_t j = column; j < std::min(columns, column + tile); ++j) {
          for (std::int64_t i = first; i < last; ++i) to[j * rows + i] = from[i * columns + j];
        }
      }
    }
  });
}
}  // namespace detail

/// x: (n, hw, c) to y: (n, c, hw).
template <class T>
void nhwc_to_nchw(Stream& stream, std::int64_t n, std::int64_t hw, std::int64_t c, T const* x, T* y) {
  detail::transpose(stream, n, hw, c, x, y);
}

/// x: (n, c, hw) to y: (n, hw, c).
template <class T>
void nchw_to_nhwc(Stream& stream, std::int64_t n, std::int64_t hw, std::int64_t c, T const* x, T* y) {
  detail::transpose(stream, n, c, hw, x, y);
}

/// y's axis i is x's axis order[i]; `extents` are x's, outermost first. Errors: a rank outside [1, 6].
template <class T>
void permute(Stream& stream, int rank, std::int64_t const* extents, int const* order, T const* x, T* y) {
  constexpr int max_rank = 6;
  if (rank < 1 || rank > max_rank) {
    throw Error("permute: rank " + std::to_string(rank) + " is not supported. Use 1 to 6 axes.");
  }
  std::int64_t x_strides[max_rank], y_extents[max_rank], strides[max_rank];
  std::int64_t elements = 1;
  for (int axis = rank; axis-- > 0;) {
    x_strides[axis] = elements;
    elements *= extents[axis];
  }
  for (int axis = 0; axis < rank; ++axis) {
    y_extents[axis] = extents[order[axis]];
    strides[axis] = x_strides[order[axis]];
  }
  if (elements == 0) return;
  std::int64_t const inner = y_extents[rank - 1], inner_stride = strides[rank - 1];
  parallel_for(stream, elements / inner, detail::row_grain(inner), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) {
      std::int64_t rest = row, offset = 0;
      for (int axis = rank - 1; axis-- > 0;) {
        offset += rest % y_extents[axis] * strides[axis];
        rest /= y_extents[axis];
      }
      for (std::int64_t i = 0; i < inner; ++i) y[row * inner + i] = x[offset + i * inner_stride];
    }
  });
}

}  // namespace mixprec::inline MIXPREC_ABI::cpu
