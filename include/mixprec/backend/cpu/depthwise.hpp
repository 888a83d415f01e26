// SPDX-License-Identifier: Apache-2.0
// Depthwise 3x3 convolutions (ConvGeometry::depthwise_3x3) as loops over channels, which lie side by side in memory: no
// gathering and no matrix product of one column.
#pragma once

#include <type_traits>  // std::integral_constant

#include <mixprec/backend/cpu/partition.hpp>
#include <mixprec/backend/geometry.hpp>

namespace mixprec::inline MIXPREC_ABI::cpu::detail {

// Channels that one pass over a window handles; its sums stay in the first-level cache.
inline constexpr std::int64_t depthwise_channels = 64;

/// Calls body(first, count) for the blocks of `channels` channels. `count` is a constant in whole blocks, which makes
/// vector code of their loops at -O2, too.
template <class Body>
void for_each_channel_block(std::int64_t channels, Body const& body) {
  std::int64_t first = 0;
  for (; first + depthwise_channels <= channels; first += depthwise_channels) {
    body(first, std::integral_constant<std::int64_t, depthwise_channels>{});
  }
  if (first < channels) body(first, channels - first);
}

/// sums[j] += values[j] * factors[j]. A function of its own, so that the compiler knows that its operands are apart.
template <class Acc, class T, class Count>
void add_products(Acc* __restrict sums, T const* __restrict values, Acc const* __restrict factors, Count count) {
  for (std::int64_t j = 0; j < count; ++j) sums[j] += convert<Acc>(values[j]) * factors[j];
}

/// windows(3,3,C) = w(C,3,3), widened.
template <class T, class Acc>
void transpose_windows(std::int64_t channels, T const* w, Acc* windows) {
  for (std::int64_t tap = 0; tap < 9; ++tap) {
    for (std::int64_t c = 0; c < channels; ++c) windows[tap * channels + c] = convert<Acc>(w[c * 9 + tap]);
  }
}

/// Calls body(tap, element) for the inputs under the window of output (p, q) of image n; `element` is the first of x's
/// channels there.
template <class Body>
void for_each_tap(ConvGeometry const& g, std::int64_t n, std::int64_t p, std::int64_t q, Body const& body) {
  for (std::int64_t r = 0; r < 3; ++r) {
    std::int64_t const h = p * g.stride - g.padding + r * g.dilation;
    if (h < 0 || h >= g.h) continue;
    for (std::int64_t s = 0; s < 3; ++s) {
      std::int64_t const w = q * g.stride - g.padding + s * g.dilation;
      if (w >= 0 && w < g.w) body(3 * r + s, ((n * g.h + h) * g.w + w) * g.c);
    }
  }
}

/// Calls body(tap, element) for the outputs whose window covers input (h, w) of image n, in which it is under `tap`;
/// `element` is the first of y's channels there.
template <class Body>
void for_each_tap_over(ConvGeometry const& g, std::int64_t n, std::int64_t h, std::int64_t w, Body const& body) {
  for (std::int64_t r = 0; r < 3; ++r) {
    std::int64_t const down = h + g.padding - r * g.dilation;
    if (down < 0 || down % g.stride != 0 || down / g.stride >= g.p) continue;
    for (std::int64_t s = 0; s < 3; ++s) {
      std::int64_t const right = w + g.padding - s * g.dilation;
      if (right < 0 || right % g.stride != 0 || right / g.stride >= g.q) continue;
      body(3 * r + s, ((n * g.p + down / g.stride) * g.q + right / g.stride) * g.c);
    }
  }
}

/// to(N, rows, columns, C) = the windows' products with `from`, summed, plus bias (C) where it is not null;
/// taps(n, row, column, body) is one of the two above. Precision: sums in Acc, one rounding.
template <class Acc, class T, class Taps>
void depthwise_gather(Stream& stream, ConvGeometry const& g, std::int64_t rows, std::int64_t columns, T const* from,
                      T const* w, T const* bias, T* to, Taps const& taps) {
  auto* const windows = static_cast<Acc*>(stream.scratch(static_cast<std::size_t>(9 * g.c) * sizeof(Acc)));
  transpose_windows(g.c, w, windows);
  parallel_for(stream, g.n * rows * columns, row_grain(9 * g.c), [&](std::int64_t pixel, std::int64_t end) {
    for (; pixel < end; ++pixel) {
      for_each_channel_block(g.c, [&](std::int64_t first, auto count) {
        Acc sums[depthwise_channels] = {};
        taps(pixel / (rows * columns), pixel / columns % rows, pixel % columns,
             [&](std::int64_t tap, std::int64_t element) {
               add_products(sums, from + element + first, windows + tap * g.c + first, count);
             });
        T* __restrict out = to + pixel * g.c + first;
        if (bias == nullptr) {
          for (std::int64_t j = 0; j < count; ++j) out[j] = convert<T>(sums[j]);
        } else {
          for (std::int64_t j = 0; j < count; ++j) out[j] = convert<T>(sums[j] + convert<Acc>(bias[first + j]));
        }
      });
    }
  });
}

/// The three convolutions of cpu/conv2d.hpp, of a geometry with depthwise_3x3().
template <class T>
void depthwise_forward(Stream& stream, ConvGeometry const& g, T const* x, T const* w, T const* bias, T* y) {
  depthwise_gather<accumulator_t<T>>(
      stream, g, g.p, g.q, x, w, bias, y,
      [&](std::int64_t n, std::int64_t p, std::int64_t q, auto const& body) { for_each_tap(g, n, p, q, body); });
}

template <class T>
void depthwise_backward_input(Stream& stream, ConvGeometry const& g, T const* dy, T const* w, T* dx) {
  T const* const bias = nullptr;
  depthwise_gather<accumulator_t<T>>(stream, g, g.h, g.w, dy, w, bias, dx,
                                     [&](std::int64_t n, std::int64_t h, std::int64_t column, auto const& body) {
                                       for_each_tap_over(g, n, h, column, body);
                                     });
}

/// Rows of dy are summed in ranges that depend on the extents alone, and the ranges in their order.
template <class T>
void depthwise_backward_weight(Stream& stream, ConvGeometry const& g, T const* x, T const* dy, T* dw) {
  using Acc = accumulator_t<T>;
  Chunks const rows(g.n * g.p, 4);
  std::int64_t const windows = 9 * g.c;
  auto* const partials =
      static_cast<Acc*>(stream.scratch(static_cast<std::size_t>(rows.count * windows) * sizeof(Acc)));
  for_each_task(stream, rows.count, [&](std::int64_t, std::int64_t chunk) {
    Acc* const sums = partials + chunk * windows;
    std::fill(sums, sums + windows, Acc{0});
    for (std::int64_t row = rows.begin(chunk); row < rows.end(chunk); ++row) {
      for (std::int64_t q = 0; q < g.q; ++q) {
        for_each_channel_block(g.c, [&](std::int64_t first, auto count) {
          Acc gradients[depthwise_channels];
          T const* __restrict upstream = dy + (row * g.q + q) * g.c + first;
          for (std::int64_t j = 0; j < count; ++j) gradients[j] = convert<Acc>(upstream[j]);
          for_each_tap(g, row / g.p, row % g.p, q, [&](std::int64_t tap, std::int64_t element) {
            add_products(sums + tap * g.c + first, x + element + first, gradients, count);
          });
        });
      }
    }
  });
  parallel_for(stream, g.c, row_grain(9 * rows.count), [&](std::int64_t c, std::int64_t end) {
    for (; c < end; ++c) {
      for (std::int64_t tap = 0; tap < 9; ++tap) {
        Acc sum{0};
        for (std::int64_t chunk = 0; chunk < rows.count; ++chunk) sum += partials[chunk * windows + tap * g.c + c];
        dw[c * 9 + tap] = convert<T>(sum);
      }
    }
  });
}

}  // namespace mixprec::inline MIXPREC_ABI::cpu::detail
