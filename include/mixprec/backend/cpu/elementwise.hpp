// SPDX-License-Identifier: Apache-2.0
// Kernels that treat a tensor as a row of elements: casts, fills, sums and products.
#pragma once

#include <mixprec/backend/cpu/partition.hpp>

namespace mixprec::inline MIXPREC_ABI::cpu {

/// y[i] = x[i], rounded once.
template <floating_dtype From, floating_dtype To>
void cast(Stream& stream, From const* x, To* y, std::int64_t n) {
  parallel_for(stream, n, detail::element_grain, [=](std::int64_t begin, std::int64_t end) {
    From const* __restrict from = x;
    To* __restrict to = y;
    for (std::int64_t i = begin; i < end; ++i) to[i] = convert<To>(from[i]);
  });
}

/// y[i] = value, rounded once.
template <floating_dtype T>
void fill(Stream& stream, T* y, double value, std::int64_t n) {
  T const rounded = convert<T>(value);
  parallel_for(stream, n, detail::element_grain,
               [=](std::int64_t begin, std::int64_t end) { std::fill(y + begin, y + end, rounded); });
}

/// y[i] = a[i] + b[i].
template <floating_dtype A, floating_dtype B, floating_dtype Y>
void add(Stream& stream, A const* a, B const* b, Y* y, std::int64_t n) {
  using Acc = arithmetic_t<A, B, Y>;
  parallel_for(stream, n, detail::element_grain, [=](std::int64_t begin, std::int64_t end) {
    A const* __restrict left = a;
    B const* __restrict right = b;
    Y* __restrict out = y;
    for (std::int64_t i = begin; i < end; ++i) out[i] = convert<Y>(convert<Acc>(left[i]) + convert<Acc>(right[i]));
  });
}

/// y[i] = a[i] * b[i].
template <floating_dtype A, floating_dtype B, floating_dtype Y>
void mul(Stream& stream, A const* a, B const* b, Y* y, std::int64_t n) {
  using Acc = arithmetic_t<A, B, Y>;
  parallel_for(stream, n, detail::element_grain, [=](std::int64_t begin, std::int64_t end) {
    A const* __restrict left = a;
    B const* __restrict right = b;
    Y* __restrict out = y;
    for (std::int64_t i = begin; i < end; ++i) out[i] = convert<Y>(convert<Acc>(left[i]) * convert<Acc>(right[i]));
  });
}

/// y[i] = x[i] * factor; the factor is rounded to the arithmetic type first.
template <floating_dtype X, floating_dtype Y>
void scale(Stream& stream, X const* x, double factor, Y* y, std::int64_t n) {
  using Acc = arithmetic_t<X, Y>;
  Acc const rounded = static_cast<Acc>(factor);
  parallel_for(stream, n, detail::element_grain, [=](std::int64_t begin, std::int64_t end) {
    X const* __restrict from = x;
    Y* __restrict to = y;
    for (std::int64_t i = begin; i < end; ++i) to[i] = convert<Y>(convert<Acc>(from[i]) * rounded);
  });
}

/// y[i] += x[i]; the sum is formed in the arithmetic type and rounded once.
template <floating_dtype From, floating_dtype To>
void accumulate(Stream& stream, From const* x, To* y, std::int64_t n) {
  using Acc = arithmetic_t<From, To>;
  parallel_for(stream, n, detail::element_grain, [=](std::int64_t begin, std::int64_t end) {
    From const* __restrict from = x;
    To* __restrict to = y;
    for (std::int64_t i = begin; i < end; ++i) to[i] = convert<To>(convert<Acc>(to[i]) + convert<Acc>(from[i]));
  });
}

}  // namespace mixprec::inline MIXPREC_ABI::cpu
