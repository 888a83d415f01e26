// SPDX-License-Identifier: Apache-2.0
// The class with the largest logit, in each row of a matrix and at each pixel of a resize that is not stored.
#pragma once

#include <limits>

#include <mixprec/backend/cpu/resize.hpp>

namespace mixprec::inline MIXPREC_ABI::cpu {

namespace detail {

/// The first of the largest values; NaN wins over numbers.
template <class Acc>
struct Largest {
  Acc value = -std::numeric_limits<Acc>::infinity();
  std::int32_t index = 0;

  void take(Acc other, std::int64_t at) {
    if (other > value || (other != other && value == value)) value = other, index = static_cast<std::int32_t>(at);
  }
};

}  // namespace detail

/// y = position of the first maximum of each row; NaN wins, as in torch.argmax. Shapes: x (rows, cols), y (rows).
template <floating_dtype X>
void argmax(Stream& stream, std::int64_t rows, std::int64_t cols, X const* x, std::int32_t* y) {
  using Acc = accumulator_t<X>;
  parallel_for(stream, rows, detail::row_grain(cols), [=](std::int64_t row, std::int64_t end) {
    for (; row < end; ++row) {
      detail::Largest<Acc> largest;
      for (std::int64_t j = 0; j < cols; ++j) largest.take(convert<Acc>(x[row * cols + j]), j);
      y[row] = largest.index;
    }
  });
}

/// y = argmax over the channels of resize_forward's result as `Y`, without storing it. Shapes: x (N,H,W,C), y (N,P,Q).
template <floating_dtype Y, floating_dtype X>
void resize_argmax(Stream& stream, ResizeGeometry const& g, X const* x, std::int32_t* y) {
  using Acc = accumulator_t<X>;
  std::int64_t const columns = g.columns.out, pixels = g.rows.out * columns;
  parallel_for(stream, g.output_pixels(), detail::row_grain(8 * g.c), [&](std::int64_t at, std::int64_t end) {
    for (; at < end; ++at) {
      detail::Largest<Acc> largest;
      detail::interpolate_pixel<Acc>(
          g, x + at / pixels * g.rows.in * g.columns.in * g.c, at / columns % g.rows.out, at % columns, g.c,
          [&](std::int64_t j, Acc value) { largest.take(convert<Acc>(convert<Y>(value)), j); });
      y[at] = largest.index;
    }
  });
}

}  // namespace mixprec::inline MIXPREC_ABI::cpu
