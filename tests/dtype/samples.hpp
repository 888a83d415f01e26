// SPDX-License-Identifier: Apache-2.0
// Inputs and oracles for rounding to a 16-bit type, shared by the host and the device tests. The oracles work on
// doubles and share no step with the library's bit arithmetic.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <vector>

#include <mixprec/dtype/dtype.hpp>

namespace dtype_samples {

/// A binary format with one sign bit, as its definition in IEEE 754 counts it.
struct Format {
  int exponent_bits, fraction_bits;
  int bias() const { return (1 << (exponent_bits - 1)) - 1; }
  double max() const { return std::ldexp(2.0 - std::ldexp(1.0, -fraction_bits), bias()); }
};
inline constexpr Format float16_format{5, 10};
inline constexpr Format bfloat16_format{8, 7};

/// What 16 bits stand for, from the definition; NaN for every NaN.
inline double decode(std::uint16_t bits, Format format) {
  int const fraction = bits & ((1 << format.fraction_bits) - 1);
  int const exponent = (bits >> format.fraction_bits) & ((1 << format.exponent_bits) - 1);
  double const sign = (bits & 0x8000) != 0 ? -1.0 : 1.0;
  if (exponent == (1 << format.exponent_bits) - 1) {
    return fraction == 0 ? sign * std::numeric_limits<double>::infinity() : std::numeric_limits<double>::quiet_NaN();
  }
  int const hidden = exponent == 0 ? 0 : 1 << format.fraction_bits;
  int const power = (exponent == 0 ? 1 : exponent) - format.bias() - format.fraction_bits;
  return sign * std::ldexp(static_cast<double>(hidden + fraction), power);
}

/// `value` rounded to the nearest number of the format, ties to even; not for NaN.
inline double round_to(double value, Format format) {
  if (value == 0 || std::isinf(value)) return value;
  int const exponent = std::max(std::ilogb(value), 1 - format.bias());
  int const quantum = exponent - format.fraction_bits;
  double const rounded = std::ldexp(std::nearbyint(std::ldexp(value, -quantum)), quantum);
  return std::abs(rounded) > format.max() ? std::copysign(std::numeric_limits<double>::infinity(), value) : rounded;
}

/// Same number and same sign, the sign of zero included.
inline bool identical(double a, double b) { return a == b && std::signbit(a) == std::signbit(b); }

/// Floats of both signs without NaN: every number of the format, every halfway case between two of them, one float
/// below and above each; then a stride through all float patterns, and random patterns.
inline std::vector<float> samples(Format format) {
  std::vector<float> values;
  auto const add_neighbourhood = [&](double centre) {
    auto const bits = std::bit_cast<std::uint32_t>(static_cast<float>(centre));
    for (std::uint32_t pattern : {bits == 0 ? 0u : bits - 1, bits, bits + 1}) {
      values.push_back(std::bit_cast<float>(pattern));
      values.push_back(std::bit_cast<float>(pattern | 0x80000000u));
    }
  };
  std::uint16_t const infinity = static_cast<std::uint16_t>(((1 << format.exponent_bits) - 1) << format.fraction_bits);
  for (std::uint16_t bits = 0; bits < infinity; ++bits) {
    double const number = decode(bits, format);
    // The next number, and beyond the largest the one that would follow: its halfway case is where overflow begins.
    double const next = bits + 1 == infinity ? std::ldexp(1.0, format.bias() + 1)
                                             : decode(static_cast<std::uint16_t>(bits + 1), format);
    add_neighbourhood(number);
    add_neighbourhood(number + (next - number) / 2);
  }
  for (float extreme : {std::numeric_limits<float>::max(), std::numeric_limits<float>::infinity(),
                        std::numeric_limits<float>::min(), std::numeric_limits<float>::denorm_min()}) {
    values.push_back(extreme);
    values.push_back(-extreme);
  }
  auto const add_pattern = [&](std::uint32_t pattern) {
    float const value = std::bit_cast<float>(pattern);
    if (!std::isnan(value)) values.push_back(value);
  };
  for (std::uint64_t pattern = 0; pattern < (std::uint64_t{1} << 32); pattern += 4099) {
    add_pattern(static_cast<std::uint32_t>(pattern));
  }
  std::mt19937 generator(20240229);
  for (int i = 0; i < 200'000; ++i) add_pattern(static_cast<std::uint32_t>(generator()));
  return values;
}

/// NaNs of both signs, quiet and signalling, with small and large payloads.
inline std::vector<float> nans() {
  std::vector<float> values;
  for (std::uint32_t payload :
       {0x1u, 0x1fffu, 0x2000u, 0xffffu, 0x10000u, 0x3fffffu, 0x400000u, 0x400001u, 0x7fffffu}) {
    values.push_back(std::bit_cast<float>(0x7f800000u | payload));
    values.push_back(std::bit_cast<float>(0xff800000u | payload));
  }
  return values;
}

}  // namespace dtype_samples
