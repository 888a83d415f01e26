// SPDX-License-Identifier: Apache-2.0
// A probability as a template argument: Dropout<0.25>.
#pragma once

#include <concepts>
#include <cstdint>
#include <numeric>  // std::gcd

#include <mixprec/config.hpp>

namespace mixprec::inline MIXPREC_ABI::nn {

/// A number given with up to nine decimals, as a fraction: clang 14 takes no floating-point template arguments, and
/// every compiler prints Probability{1, 4} so that it can be read. Nine decimals are more than a dropout mask's uniform
/// numbers tell apart (24 bits).
struct Probability {
  std::int64_t numerator = 0, denominator = 1;  // public, as a template argument's members have to be

  /// From 0.25. What is no probability is kept too: whoever takes one checks valid() and says where.
  template <std::floating_point Number>
  constexpr Probability(Number p) {
    constexpr std::int64_t parts = 1000000000;
    if (!(p > -parts && p < parts)) {  // nor NaN
      numerator = 1, denominator = 0;
      return;
    }
    double const scaled = static_cast<double>(p) * static_cast<double>(parts);
    auto const rounded = static_cast<std::int64_t>(scaled + (scaled < 0 ? -0.5 : 0.5));
    std::int64_t const common = std::gcd(rounded, parts);
    numerator = rounded / common, denominator = parts / common;
  }
  /// From 0, and from what was meant in another unit.
  template <std::integral Number>
  constexpr Probability(Number p) : numerator(static_cast<std::int64_t>(p)) {}
  /// numerator / denominator as they are: so nvcc writes a template argument to its host compiler.
  constexpr Probability(std::int64_t numerator_, std::int64_t denominator_)
      : numerator(numerator_), denominator(denominator_) {}

  /// True in [0, 1).
  constexpr bool valid() const { return numerator >= 0 && numerator < denominator; }
  /// The double nearest to the fraction: for nine decimals or fewer the one that was given.
  constexpr double value() const { return static_cast<double>(numerator) / static_cast<double>(denominator); }
};

}  // namespace mixprec::inline MIXPREC_ABI::nn
