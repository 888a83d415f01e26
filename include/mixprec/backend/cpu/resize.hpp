// SPDX-License-Identifier: Apache-2.0
// Bilinear resize over NHWC tensors. Backward gathers: no element is written twice.
#pragma once

#include <mixprec/backend/cpu/pool.hpp>
#include <mixprec/backend/resize_geometry.hpp>

namespace mixprec::inline MIXPREC_ABI::cpu {

namespace detail {

/// Writes the `count` interpolated values of output (row, column) of one image; `image` is its first channel's address.
template <class Acc, class X, class Write>
void interpolate_pixel(ResizeGeometry const& g, X const* image, std::int64_t row, std::int64_t column,
                       std::int64_t count, Write const& write) {
  ResizeAxis::Tap const vertical = g.rows.tap(row), horizontal = g.columns.tap(column);
  Acc const down = g.rows.fraction<Acc>(vertical.rest), right = g.columns.fraction<Acc>(horizontal.rest);
  auto const corner = [&](std::int64_t h, std::int64_t w) { return image + (h * g.columns.in + w) * g.c; };
  X const* __restrict a = corner(vertical.low, horizontal.low);
  X const* __restrict b = corner(vertical.low, horizontal.high);
  X const* __restrict c = corner(vertical.high, horizontal.low);
  X const* __restrict d = corner(vertical.high, horizontal.high);
  for (std::int64_t j = 0; j < count; ++j) {
    Acc const top_left = convert<Acc>(a[j]), bottom_left = convert<Acc>(c[j]);
    Acc const top = top_left + right * (convert<Acc>(b[j]) - top_left);
    Acc const bottom = bottom_left + right * (convert<Acc>(d[j]) - bottom_left);
    write(j, top + down * (bottom - top));
  }
}

}  // namespace detail

/// y = x between its pixels. Shapes: x (N,H,W,C), y (N,P,Q,C), whose pixels lie `y_stride` elements apart, 0: C.
/// Precision: weights and sums in the accumulator type, one rounding. Source: torch.nn.functional.interpolate,
/// mode="bilinear", without antialiasing.
template <floating_dtype X, floating_dtype Y>
void resize_forward(Stream& stream, ResizeGeometry const& g, X const* x, Y* y, std::int64_t y_stride = 0) {
  using Acc = accumulator_t<X>;
  if (y_stride == 0) y_stride = g.c;
  detail::for_each_position(
      stream, g.n, g.rows.out, g.columns.out, g.c, 4,
      [&](std::int64_t n, std::int64_t p, std::int64_t q, std::int64_t, std::int64_t first, std::int64_t count) {
        Y* const to = y + ((n * g.rows.out + p) * g.columns.out + q) * y_stride + first;
        detail::interpolate_pixel<Acc>(g, x + n * g.rows.in * g.columns.in * g.c + first, p, q, count,
                                       [&](std::int64_t j, Acc value) { to[j] = convert<Y>(value); });
      });
}

/// dx = for each input the sum of dy over the outputs that it touches, times its weight there; rows first. dy's pixels
/// lie `y_stride` elements apart, 0: C.
template <floating_dtype Y, floating_dtype X>
void resize_backward(Stream& stream, ResizeGeometry const& g, Y const* dy, X* dx, std::int64_t y_stride = 0) {
  using Acc = accumulator_t<X>;
  if (y_stride == 0) y_stride = g.c;
  std::int64_t const touched = 4 * (1 + g.rows.out / g.rows.in) * (1 + g.columns.out / g.columns.in);
  detail::for_each_position(
      stream, g.n, g.rows.in, g.columns.in, g.c, touched,
      [&](std::int64_t n, std::int64_t h, std::int64_t w, std::int64_t at, std::int64_t first, std::int64_t count) {
        Acc total[detail::pool_channels] = {};
        for (std::int64_t p = g.rows.begin(h - 1); p < g.rows.begin(h + 1); ++p) {
          Acc const vertical = g.rows.weight<Acc>(p, h);
          for (std::int64_t q = g.columns.begin(w - 1); q < g.columns.begin(w + 1); ++q) {
            Acc const weight = vertical * g.columns.weight<Acc>(q, w);
            Y const* __restrict upstream = dy + ((n * g.rows.out + p) * g.columns.out + q) * y_stride + first;
            for (std::int64_t j = 0; j < count; ++j) total[j] += weight * convert<Acc>(upstream[j]);
          }
        }
        for (std::int64_t j = 0; j < count; ++j) dx[at + j] = convert<X>(total[j]);
      });
}

}  // namespace mixprec::inline MIXPREC_ABI::cpu
