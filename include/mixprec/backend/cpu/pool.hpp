// SPDX-License-Identifier: Apache-2.0
// Max, average and global average pooling over NHWC tensors. Backward gathers: no element is written twice.
#pragma once

#include <limits>
#include <string>

#include <mixprec/backend/cpu/partition.hpp>
#include <mixprec/backend/geometry.hpp>
#include <mixprec/error.hpp>

namespace mixprec::inline MIXPREC_ABI::cpu {

namespace detail {

// Channels that one pass over a window handles; its state stays in the first-level cache.
inline constexpr std::int64_t pool_channels = 64;

/// Calls body(image, row, column, at, first, count) for every position of `n` images of `height` by `width` and every
/// block [first, first + count) of their `c` channels; `at` is the block's first element. `window` weighs the work.
template <class Body>
void for_each_position(Stream& stream, std::int64_t n, std::int64_t height, std::int64_t width, std::int64_t c,
                       std::int64_t window, Body const& body) {
  parallel_for(stream, n * height * width, row_grain(c * window), [&](std::int64_t position, std::int64_t end) {
    for (; position < end; ++position) {
      for (std::int64_t first = 0; first < c; first += pool_channels) {
        body(position / (height * width), position / width % height, position % width, position * c + first, first,
             std::min(pool_channels, c - first));
      }
    }
  });
}

/// Calls body(window, row, column) for the outputs (row, column) whose window covers input (y, x), in which it is
/// element `window`.
template <class Body>
void for_each_window_over(PoolGeometry const& g, std::int64_t y, std::int64_t x, Body const& body) {
  std::int64_t const last_row = std::min(g.p - 1, (y + g.padding) / g.stride);
  std::int64_t const last_column = std::min(g.q - 1, (x + g.padding) / g.stride);
  for (std::int64_t row = last_row; row >= 0; --row) {
    std::int64_t const r = y + g.padding - row * g.stride;
    if (r >= g.kernel) break;
    for (std::int64_t column = last_column; column >= 0; --column) {
      std::int64_t const s = x + g.padding - column * g.stride;
      if (s >= g.kernel) break;
      body(r * g.kernel + s, row, column);
    }
  }
}

/// Calls body(window, from) for the inputs under the window of output (p, q) of image n, positions in the window
/// rising; `from` are the input's channels from `first`.
template <class X, class Body>
void for_each_input_under(PoolGeometry const& g, std::int64_t n, std::int64_t p, std::int64_t q, X const* x,
                          std::int64_t first, Body const& body) {
  std::int64_t const top = p * g.stride - g.padding, left = q * g.stride - g.padding;
  std::int64_t const last_row = std::min<std::int64_t>(g.kernel, g.h - top);
  std::int64_t const last_column = std::min<std::int64_t>(g.kernel, g.w - left);
  for (std::int64_t r = std::max<std::int64_t>(0, -top); r < last_row; ++r) {
    for (std::int64_t s = std::max<std::int64_t>(0, -left); s < last_column; ++s) {
      body(r * g.kernel + s, x + ((n * g.h + top + r) * g.w + left + s) * g.c + first);
    }
  }
}

/// The first position in the window of output (p, q) that lies on an input.
inline std::int64_t first_position(PoolGeometry const& g, std::int64_t p, std::int64_t q) {
  return std::max<std::int64_t>(0, g.padding - p * g.stride) * g.kernel +
         std::max<std::int64_t>(0, g.padding - q * g.stride);
}

}  // namespace detail

/// The largest element of each window; NaN wins. `index` (or null) takes its position in the window, of the first
/// maximum. Errors: a kernel with more positions than `Index` can number.
template <floating_dtype X, floating_dtype Y, window_index Index>
void max_pool2d_forward(Stream& stream, PoolGeometry const& g, X const* x, Y* y, Index* index) {
  using Acc = accumulator_t<X>;
  if (index != nullptr && g.kernel > largest_kernel<Index>) {
    throw Error("max_pool2d: a window of " + std::to_string(g.kernel) + " x " + std::to_string(g.kernel) +
                " has more positions than an index of " + std::to_string(sizeof(Index)) +
                " bytes can number. Use a wider index.");
  }
  detail::for_each_position(
      stream, g.n, g.p, g.q, g.c, std::int64_t{g.kernel} * g.kernel,
      [&](std::int64_t n, std::int64_t p, std::int64_t q, std::int64_t at, std::int64_t first, std::int64_t count) {
        Acc best[detail::pool_channels];
        std::int32_t position[detail::pool_channels];
        std::fill(best, best + count, -std::numeric_limits<Acc>::infinity());
        std::fill(position, position + count, static_cast<std::int32_t>(detail::first_position(g, p, q)));
        detail::for_each_input_under(g, n, p, q, x, first, [&](std::int64_t window, X const* __restrict from) {
          auto const here = static_cast<std::int32_t>(window);
          for (std::int64_t j = 0; j < count; ++j) {
            Acc const value = convert<Acc>(from[j]);
            bool const wins = (value > best[j]) | (value != value);
            best[j] = wins ? value : best[j];
            position[j] = wins ? here : position[j];
          }
        });
        for (std::int64_t j = 0; j < count; ++j) y[at + j] = convert<Y>(best[j]);
        if (index != nullptr) {
          for (std::int64_t j = 0; j < count; ++j) index[at + j] = static_cast<Index>(position[j]);
        }
      });
}

/// Each input takes the gradients of the windows whose maximum it was.
template <floating_dtype Y, window_index Index, floating_dtype X>
void max_pool2d_backward(Stream& stream, PoolGeometry const& g, Y const* dy, Index const* index, X* dx) {
  using Acc = accumulator_t<X>;
  detail::for_each_position(
      stream, g.n, g.h, g.w, g.c, std::int64_t{g.kernel} * g.kernel,
      [&](std::int64_t n, std::int64_t h, std::int64_t w, std::int64_t at, std::int64_t first, std::int64_t count) {
        Acc total[detail::pool_channels] = {};
        detail::for_each_window_over(g, h, w, [&](std::int64_t window, std::int64_t p, std::int64_t q) {
          std::int64_t const from = ((n * g.p + p) * g.q + q) * g.c + first;
          Y const* __restrict upstream = dy + from;
          Index const* __restrict winner = index + from;
          for (std::int64_t j = 0; j < count; ++j) {
            Acc const gradient = convert<Acc>(upstream[j]);
            total[j] += winner[j] == window ? gradient : Acc{0};
          }
        });
        for (std::int64_t j = 0; j < count; ++j) dx[at + j] = convert<X>(total[j]);
      });
}

/// The mean of each window; padding counts as zeros (PyTorch's count_include_pad=True).
template <floating_dtype X, floating_dtype Y>
void avg_pool2d_forward(Stream& stream, PoolGeometry const& g, X const* x, Y* y) {
  using Acc = accumulator_t<X>;
  Acc const factor = Acc{1} / static_cast<Acc>(g.kernel * g.kernel);
  detail::for_each_position(
      stream, g.n, g.p, g.q, g.c, std::int64_t{g.kernel} * g.kernel,
      [&](std::int64_t n, std::int64_t p, std::int64_t q, std::int64_t at, std::int64_t first, std::int64_t count) {
        Acc total[detail::pool_channels] = {};
        detail::for_each_input_under(g, n, p, q, x, first, [&](std::int64_t, X const* __restrict from) {
          for (std::int64_t j = 0; j < count; ++j) total[j] += convert<Acc>(from[j]);
        });
        for (std::int64_t j = 0; j < count; ++j) y[at + j] = convert<Y>(total[j] * factor);
      });
}

/// Each input takes 1 / kernel^2 of the gradients of the windows over it.
template <floating_dtype Y, floating_dtype X>
void avg_pool2d_backward(Stream& stream, PoolGeometry const& g, Y const* dy, X* dx) {
  using Acc = accumulator_t<X>;
  Acc const factor = Acc{1} / static_cast<Acc>(g.kernel * g.kernel);
  detail::for_each_position(
      stream, g.n, g.h, g.w, g.c, std::int64_t{g.kernel} * g.kernel,
      [&](std::int64_t n, std::int64_t h, std::int64_t w, std::int64_t at, std::int64_t first, std::int64_t count) {
        Acc total[detail::pool_channels] = {};
        detail::for_each_window_over(g, h, w, [&](std::int64_t, std::int64_t p, std::int64_t q) {
          Y const* __restrict upstream = dy + ((n * g.p + p) * g.q + q) * g.c + first;
          for (std::int64_t j = 0; j < count; ++j) total[j] += convert<Acc>(upstream[j]);
        });
        for (std::int64_t j = 0; j < count; ++j) dx[at + j] = convert<X>(total[j] * factor);
      });
}

/// y(n, c) = mean over hw of x(n, hw, c).
template <floating_dtype X, floating_dtype Y>
void global_avg_pool2d_forward(Stream& stream, std::int64_t n, std::int64_t hw, std::int64_t c, X const* x, Y* y) {
  using Acc = accumulator_t<X>;
  Acc const count = static_cast<Acc>(hw);
  detail::for_each_position(
      stream, n, 1, 1, c, hw,
      [&](std::int64_t image, std::int64_t, std::int64_t, std::int64_t at, std::int64_t first, std::int64_t channels) {
        Acc total[detail::pool_channels] = {};
        X const* from = x + image * hw * c + first;
        for (std::int64_t i = 0; i < hw; ++i, from += c) {
          for (std::int64_t j = 0; j < channels; ++j) total[j] += convert<Acc>(from[j]);
        }
        for (std::int64_t j = 0; j < channels; ++j) y[at + j] = convert<Y>(total[j] / count);
      });
}

/// dx(n, hw, c) = dy(n, c) / hw.
template <floating_dtype Y, floating_dtype X>
void global_avg_pool2d_backward(Stream& stream, std::int64_t n, std::int64_t hw, std::int64_t c, Y const* dy, X* dx) {
  using Acc = accumulator_t<X>;
  Acc const count = static_cast<Acc>(hw);
  parallel_for(stream, n * hw, detail::row_grain(c), [=](std::int64_t row, std::int64_t end) {
    for (; row < end; ++row) {
      Y const* __restrict upstream = dy + row / hw * c;
      X* __restrict out = dx + row * c;
      for (std::int64_t j = 0; j < c; ++j) out[j] = convert<X>(convert<Acc>(upstream[j]) / count);
    }
  });
}

}  // namespace mixprec::inline MIXPREC_ABI::cpu
