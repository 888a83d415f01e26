// SPDX-License-Identifier: Apache-2.0
// Two-dimensional convolution and its gradients: oneDNN's for float and bfloat16 where it is built in, otherwise loops
// over channels for depthwise 3x3 windows, and the reference (a matrix product whose rows are gathered on the fly).
// Layouts: see ConvGeometry.
#pragma once

#include <type_traits>  // std::type_identity_t

#include <mixprec/backend/cpu/capability.hpp>
#include <mixprec/backend/cpu/depthwise.hpp>
#include <mixprec/backend/cpu/gemm.hpp>
#include <mixprec/backend/geometry.hpp>
#if MIXPREC_USES_ONEDNN()
#include <mixprec/backend/cpu/onednn.hpp>
#endif

namespace mixprec::inline MIXPREC_ABI::cpu {

namespace detail {

/// Calls segment(r, s, channel, count, out) for the runs of equal (r, s) in columns [first, first + count) of a row of
/// (r, s, channel) columns.
template <class Acc, class Segment>
void for_each_segment(ConvGeometry const& g, std::int64_t channels, std::int64_t first, std::int64_t count, Acc* out,
                      Segment const& segment) {
  for (std::int64_t column = first; column < first + count;) {
    std::int64_t const tap = column / channels, channel = column % channels;
    std::int64_t const run = std::min(channels - channel, first + count - column);
    segment(tap / g.s, tap % g.s, channel, run, out);
    out += run;
    column += run;
  }
}

/// The inputs under output `pixel`'s window in (r, s, channel) order, from column `first`; zero where padding is.
template <class T, class Acc>
void gather_inputs(ConvGeometry const& g, T const* x, std::int64_t group, std::int64_t pixel, std::int64_t first,
                   std::int64_t count, Acc* out) {
  std::int64_t const channels = g.c / g.groups, image = pixel / (g.p * g.q);
  std::int64_t const top = pixel / g.q % g.p * g.stride - g.padding, left = pixel % g.q * g.stride - g.padding;
  auto const copy = [&](std::int64_t r, std::int64_t s, std::int64_t channel, std::int64_t run, Acc* to) {
    std::int64_t const h = top + r * g.dilation, w = left + s * g.dilation;
    if (h < 0 || h >= g.h || w < 0 || w >= g.w) {
      std::fill(to, to + run, Acc{0});
    } else {
      widen(x + ((image * g.h + h) * g.w + w) * g.c + group * channels + channel, 1, run, to);
    }
  };
  for_each_segment(g, channels, first, count, out, copy);
}

/// The output gradients that input `pixel` reaches, in (r, s, channel) order, from column `first`; zero where none is.
template <class T, class Acc>
void gather_gradients(ConvGeometry const& g, T const* dy, std::int64_t group, std::int64_t pixel, std::int64_t first,
                      std::int64_t count, Acc* out) {
  std::int64_t const channels = g.k / g.groups, image = pixel / (g.h * g.w);
  std::int64_t const h = pixel / g.w % g.h + g.padding, w = pixel % g.w + g.padding;
  auto const copy = [&](std::int64_t r, std::int64_t s, std::int64_t channel, std::int64_t run, Acc* to) {
    std::int64_t const down = h - r * g.dilation, right = w - s * g.dilation;
    bool const hit = down >= 0 && right >= 0 && down % g.stride == 0 && right % g.stride == 0 &&
                     down / g.stride < g.p && right / g.stride < g.q;
    if (!hit) {
      std::fill(to, to + run, Acc{0});
    } else {
      std::int64_t const from = (image * g.p + down / g.stride) * g.q + right / g.stride;
      widen(dy + from * g.k + group * channels + channel, 1, run, to);
    }
  };
  for_each_segment(g, channels, first, count, out, copy);
}

template <class T>
void reference_conv2d_forward(Stream& stream, ConvGeometry const& g, T const* x, T const* w, T const* bias, T* y) {
  using Acc = accumulator_t<T>;
  std::int64_t const columns = g.r * g.s * (g.c / g.groups), filters = g.k / g.groups;
  for (std::int64_t group = 0; group < g.groups; ++group) {
    T const* const weight = w + group * filters * columns;
    gemm<Acc>(
        stream, g.n * g.p * g.q, filters, columns,
        [&](std::int64_t pixel, std::int64_t first, std::int64_t count, Acc* out) {
          gather_inputs(g, x, group, pixel, first, count, out);
        },
        [&](std::int64_t column, std::int64_t filter, std::int64_t count, Acc* out) {
          widen(weight + filter * columns + column, columns, count, out);
        },
        [&](std::int64_t pixel, std::int64_t filter, std::int64_t count, Acc const* sums) {
          std::int64_t const k = group * filters + filter;
          for (std::int64_t j = 0; j < count; ++j) {
            y[pixel * g.k + k + j] = convert<T>(bias == nullptr ? sums[j] : sums[j] + convert<Acc>(bias[k + j]));
          }
        });
  }
}

template <class T>
void reference_conv2d_backward_input(Stream& stream, ConvGeometry const& g, T const* dy, T const* w, T* dx) {
  using Acc = accumulator_t<T>;
  std::int64_t const channels = g.c / g.groups, filters = g.k / g.groups, taps = g.r * g.s;
  for (std::int64_t group = 0; group < g.groups; ++group) {
    gemm<Acc>(
        stream, g.n * g.h * g.w, channels, taps * filters,
        [&](std::int64_t pixel, std::int64_t first, std::int64_t count, Acc* out) {
          gather_gradients(g, dy, group, pixel, first, count, out);
        },
        [&](std::int64_t column, std::int64_t channel, std::int64_t count, Acc* out) {
          std::int64_t const filter = group * filters + column % filters;
          widen(w + (filter * taps + column / filters) * channels + channel, 1, count, out);
        },
        [&](std::int64_t pixel, std::int64_t channel, std::int64_t count, Acc const* sums) {
          T* const to = dx + pixel * g.c + group * channels + channel;
          for (std::int64_t j = 0; j < count; ++j) to[j] = convert<T>(sums[j]);
        });
  }
}

template <class T>
void reference_conv2d_backward_weight(Stream& stream, ConvGeometry const& g, T const* x, T const* dy, T* dw) {
  using Acc = accumulator_t<T>;
  std::int64_t const columns = g.r * g.s * (g.c / g.groups), filters = g.k / g.groups;
  for (std::int64_t group = 0; group < g.groups; ++group) {
    gemm<Acc>(
        stream, filters, columns, g.n * g.p * g.q,
        [&](std::int64_t filter, std::int64_t pixel, std::int64_t count, Acc* out) {
          widen(dy + pixel * g.k + group * filters + filter, g.k, count, out);
        },
        [&](std::int64_t pixel, std::int64_t first, std::int64_t count, Acc* out) {
          gather_inputs(g, x, group, pixel, first, count, out);
        },
        [&](std::int64_t filter, std::int64_t first, std::int64_t count, Acc const* sums) {
          T* const to = dw + (group * filters + filter) * columns + first;
          for (std::int64_t j = 0; j < count; ++j) to[j] = convert<T>(sums[j]);
        });
  }
}

}  // namespace detail

/// y = convolution of x with w, plus bias (K) where it is not null.
/// Precision: products and sums in the accumulator type of T, one rounding. Errors: oneDNN's, with the geometry.
template <floating_dtype T>
void conv2d_forward(Stream& stream, ConvGeometry const& g, T const* x, T const* w, std::type_identity_t<T> const* bias,
                    T* y) {
#if MIXPREC_USES_ONEDNN()
  if constexpr (onednn::has_dtype<T>) {
    if (onednn::takes(g)) return onednn::conv2d_forward(stream, g, x, w, bias, y);
  }
#endif
  if (g.depthwise_3x3()) return detail::depthwise_forward(stream, g, x, w, bias, y);
  detail::reference_conv2d_forward(stream, g, x, w, bias, y);
}

/// dx: the gradient of x. Precision and errors as conv2d_forward.
template <floating_dtype T>
void conv2d_backward_input(Stream& stream, ConvGeometry const& g, T const* dy, T const* w, T* dx) {
#if MIXPREC_USES_ONEDNN()
  if constexpr (onednn::has_dtype<T>) {
    if (onednn::takes(g)) return onednn::conv2d_backward_input(stream, g, dy, w, dx);
  }
#endif
  if (g.depthwise_3x3()) return detail::depthwise_backward_input(stream, g, dy, w, dx);
  detail::reference_conv2d_backward_input(stream, g, dy, w, dx);
}

/// dw: the gradient of w. Precision and errors as conv2d_forward.
template <floating_dtype T>
void conv2d_backward_weight(Stream& stream, ConvGeometry const& g, T const* x, T const* dy, T* dw) {
#if MIXPREC_USES_ONEDNN()
  if constexpr (onednn::has_dtype<T>) {
    if (onednn::takes(g)) return onednn::conv2d_backward_weight(stream, g, x, dy, dw);
  }
#endif
  if (g.depthwise_3x3()) return detail::depthwise_backward_weight(stream, g, x, dy, dw);
  detail::reference_conv2d_backward_weight(stream, g, x, dy, dw);
}

}  // namespace mixprec::inline MIXPREC_ABI::cpu
