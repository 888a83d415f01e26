// SPDX-License-Identifier: Apache-2.0
// Copies between matrices of different widths: concatenation along channels, and its gradient.
#pragma once

#include <mixprec/backend/cpu/partition.hpp>

namespace mixprec::inline MIXPREC_ABI::cpu {

/// y[row * y_stride + column] = x[row * x_stride + column] for `rows` rows of `columns` elements, rounded once.
template <floating_dtype X, floating_dtype Y>
void copy_columns(Stream& stream, std::int64_t rows, std::int64_t columns, X const* x, std::int64_t x_stride, Y* y,
                  std::int64_t y_stride) {
  parallel_for(stream, rows, detail::row_grain(columns), [=](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) {
      X const* __restrict from = x + row * x_stride;
      Y* __restrict to = y + row * y_stride;
      for (std::int64_t column = 0; column < columns; ++column) to[column] = convert<Y>(from[column]);
    }
  });
}

}  // namespace mixprec::inline MIXPREC_ABI::cpu
