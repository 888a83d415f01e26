// SPDX-License-Identifier: Apache-2.0
// ReLU and its gradient; batch norm's fused form uses the same function of one value.
#pragma once

#include <type_traits>

#include <mixprec/backend/cpu/partition.hpp>

namespace mixprec::inline MIXPREC_ABI::cpu {

namespace detail {

/// The bits of infinity in a 16-bit type.
template <class T>
inline constexpr std::uint16_t infinity_bits = dtype_of_v<T> == DType::bfloat16 ? 0x7f80 : 0x7c00;

/// max(value, 0); NaN passes, both zeros give +0. The 16-bit types are decided by their bits, which needs no conversion
/// and fills a vector with twice the elements.
template <class T>
T rectified(T value) {
  if constexpr (sizeof(T) == 2) {
    std::uint16_t const cleared = (value.bits & 0x8000u) != 0 ? std::uint16_t{0} : value.bits;
    return T::from_bits((value.bits & 0x7fffu) > infinity_bits<T> ? std::uint16_t{0x7fff} : cleared);
  } else {
    return value <= T{0} ? T{0} : value;
  }
}

/// value > 0; false for NaN.
template <class T>
bool is_positive(T value) {
  if constexpr (sizeof(T) == 2)
    return static_cast<std::uint16_t>(value.bits - 1u) < infinity_bits<T>;
  else
    return value > T{0};
}

}  // namespace detail

/// y[i] = max(x[i], 0); NaN stays NaN.
template <floating_dtype X, floating_dtype Y>
void relu_forward(Stream& stream, X const* x, Y* y, std::int64_t n) {
  parallel_for(stream, n, detail::element_grain, [=](std::int64_t begin, std::int64_t end) {
    X const* __restrict from = x;
    Y* __restrict to = y;
    for (std::int64_t i = begin; i < end; ++i) {
      if constexpr (std::is_same_v<X, Y>) {
        to[i] = detail::rectified(from[i]);
      } else {
        to[i] = convert<Y>(detail::rectified(from[i]));
      }
    }
  });
}

/// dx[i] = y[i] > 0 ? dy[i] : 0, from the forward's result.
template <floating_dtype Y, floating_dtype X>
void relu_backward(Stream& stream, Y const* y, Y const* dy, X* dx, std::int64_t n) {
  parallel_for(stream, n, detail::element_grain, [=](std::int64_t begin, std::int64_t end) {
    Y const* __restrict result = y;
    Y const* __restrict upstream = dy;
    X* __restrict out = dx;
    for (std::int64_t i = begin; i < end; ++i) {
      if constexpr (std::is_same_v<X, Y> && sizeof(X) == 2) {
        std::uint16_t const bits = upstream[i].bits;
        out[i] = X::from_bits(detail::is_positive(result[i]) ? bits : std::uint16_t{0});
      } else {
        X const gradient = convert<X>(upstream[i]);
        out[i] = detail::is_positive(result[i]) ? gradient : X{};
      }
    }
  });
}

}  // namespace mixprec::inline MIXPREC_ABI::cpu
