// SPDX-License-Identifier: Apache-2.0
// Adaptive average pooling over several grids at once. Backward gathers: no element is written twice.
#pragma once

#include <mixprec/backend/cpu/pool.hpp>

namespace mixprec::inline MIXPREC_ABI::cpu {

/// The mean of each bin of each grid. Precision: sums and division in accumulator_t<X>, one rounding.
template <floating_dtype X, floating_dtype Y>
void pyramid_pool_forward(Stream& stream, PyramidGeometry const& g, X const* x, Y* y) {
  using Acc = accumulator_t<X>;
  detail::for_each_position(
      stream, g.n, g.bins(), 1, g.c, g.h * g.w,
      [&](std::int64_t image, std::int64_t bin, std::int64_t, std::int64_t at, std::int64_t first, std::int64_t count) {
        int grid = 0;
        while (bin >= g.first_bin(grid + 1)) ++grid;
        std::int64_t const p = (bin - g.first_bin(grid)) / g.grid[grid], q = (bin - g.first_bin(grid)) % g.grid[grid];
        AdaptiveAxis const rows = g.rows(grid), columns = g.columns(grid);
        Acc total[detail::pool_channels] = {};
        for (std::int64_t h = rows.begin(p); h < rows.end(p); ++h) {
          for (std::int64_t w = columns.begin(q); w < columns.end(q); ++w) {
            X const* const from = x + ((image * g.h + h) * g.w + w) * g.c + first;
            for (std::int64_t j = 0; j < count; ++j) total[j] += convert<Acc>(from[j]);
          }
        }
        Acc const size = static_cast<Acc>(rows.size(p) * columns.size(q));
        for (std::int64_t j = 0; j < count; ++j) y[at + j] = convert<Y>(total[j] / size);
      });
}

/// dx = sum of dy / size over the bins of all grids that cover it. Precision: in accumulator_t<X>, one rounding.
template <floating_dtype Y, floating_dtype X>
void pyramid_pool_backward(Stream& stream, PyramidGeometry const& g, Y const* dy, X* dx) {
  using Acc = accumulator_t<X>;
  detail::for_each_position(
      stream, g.n, g.h, g.w, g.c, 4 * g.grids,
      [&](std::int64_t image, std::int64_t h, std::int64_t w, std::int64_t at, std::int64_t first, std::int64_t count) {
        Acc total[detail::pool_channels] = {};
        for (int grid = 0; grid < g.grids; ++grid) {
          AdaptiveAxis const rows = g.rows(grid), columns = g.columns(grid);
          for (std::int64_t p = rows.first_over(h); p <= rows.last_over(h); ++p) {
            for (std::int64_t q = columns.first_over(w); q <= columns.last_over(w); ++q) {
              std::int64_t const bin = image * g.bins() + g.first_bin(grid) + p * g.grid[grid] + q;
              Y const* const from = dy + bin * g.c + first;
              Acc const size = static_cast<Acc>(rows.size(p) * columns.size(q));
              for (std::int64_t j = 0; j < count; ++j) total[j] += convert<Acc>(from[j]) / size;
            }
          }
        }
        for (std::int64_t j = 0; j < count; ++j) dx[at + j] = convert<X>(total[j]);
      });
}

}  // namespace mixprec::inline MIXPREC_ABI::cpu
