// SPDX-License-Identifier: Apache-2.0
// Adaptive average pooling over NHWC tensors. Backward gathers: no element is written twice.
#pragma once

#include <mixprec/backend/cpu/pool.hpp>

namespace mixprec::inline MIXPREC_ABI::cpu {

/// The mean of each bin. Precision: sums and division in accumulator_t<X>, one rounding.
template <floating_dtype X, floating_dtype Y>
void adaptive_avg_pool2d_forward(Stream& stream, AdaptivePoolGeometry const& g, X const* x, Y* y) {
  using Acc = accumulator_t<X>;
  std::int64_t const window = (g.rows.extent / g.rows.bins + 1) * (g.columns.extent / g.columns.bins + 1);
  detail::for_each_position(
      stream, g.n, g.rows.bins, g.columns.bins, g.c, window,
      [&](std::int64_t image, std::int64_t p, std::int64_t q, std::int64_t at, std::int64_t first, std::int64_t count) {
        Acc total[detail::pool_channels] = {};
        for (std::int64_t h = g.rows.begin(p); h < g.rows.end(p); ++h) {
          for (std::int64_t w = g.columns.begin(q); w < g.columns.end(q); ++w) {
            X const* const from = x + ((image * g.rows.extent + h) * g.columns.extent + w) * g.c + first;
            for (std::int64_t j = 0; j < count; ++j) total[j] += convert<Acc>(from[j]);
          }
        }
        Acc const size = static_cast<Acc>(g.rows.size(p) * g.columns.size(q));
        for (std::int64_t j = 0; j < count; ++j) y[at + j] = convert<Y>(total[j] / size);
      });
}

/// dx = sum of dy / size over the bins that cover it. Precision: in accumulator_t<X>, one rounding.
template <floating_dtype Y, floating_dtype X>
void adaptive_avg_pool2d_backward(Stream& stream, AdaptivePoolGeometry const& g, Y const* dy, X* dx) {
  using Acc = accumulator_t<X>;
  detail::for_each_position(
      stream, g.n, g.rows.extent, g.columns.extent, g.c, 4,
      [&](std::int64_t image, std::int64_t h, std::int64_t w, std::int64_t at, std::int64_t first, std::int64_t count) {
        Acc total[detail::pool_channels] = {};
        for (std::int64_t p = g.rows.first_over(h); p <= g.rows.last_over(h); ++p) {
          for (std::int64_t q = g.columns.first_over(w); q <= g.columns.last_over(w); ++q) {
            Y const* const from = dy + ((image * g.rows.bins + p) * g.columns.bins + q) * g.c + first;
            Acc const size = static_cast<Acc>(g.rows.size(p) * g.columns.size(q));
            for (std::int64_t j = 0; j < count; ++j) total[j] += convert<Acc>(from[j]) / size;
          }
        }
        for (std::int64_t j = 0; j < count; ++j) dx[at + j] = convert<X>(total[j]);
      });
}

}  // namespace mixprec::inline MIXPREC_ABI::cpu
