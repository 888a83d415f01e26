// SPDX-License-Identifier: Apache-2.0
// What both 16-bit types promise on the host, as one set of cases for a type and its format.
#pragma once

#include <doctest/doctest.h>

#include "samples.hpp"

namespace dtype_samples {

template <class T>
void check_all_patterns_round_trip(Format format) {
  int wrong_value = 0, wrong_bits = 0, nan_patterns = 0;
  for (std::uint32_t pattern = 0; pattern <= 0xffff; ++pattern) {
    auto const bits = static_cast<std::uint16_t>(pattern);
    double const expected = decode(bits, format);
    float const value = T::from_bits(bits);
    if (std::isnan(expected)) {
      ++nan_patterns;
      wrong_value += !std::isnan(value);
      wrong_bits += T(value).bits != 0x7fff;
    } else {
      wrong_value += !identical(value, expected);
      wrong_bits += T(value).bits != bits;
    }
  }
  CHECK(nan_patterns == 2 * ((1 << format.fraction_bits) - 1));
  CHECK(wrong_value == 0);
  CHECK(wrong_bits == 0);
}

template <class T>
void check_rounding_against_doubles(Format format) {
  auto const values = samples(format);
  CHECK(values.size() > 1'000'000);
  int wrong = 0;
  for (float value : values) {
    T const rounded(value);
    if (!identical(decode(rounded.bits, format), round_to(value, format)) && wrong++ < 5) {
      CAPTURE(std::bit_cast<std::uint32_t>(value));
      CAPTURE(rounded.bits);
      CHECK(identical(decode(rounded.bits, format), round_to(value, format)));
    }
  }
  CHECK(wrong == 0);
}

template <class T>
void check_nan_form() {
  for (float nan : nans()) {
    CAPTURE(std::bit_cast<std::uint32_t>(nan));
    CHECK(T(nan).bits == 0x7fff);
    CHECK(std::isnan(static_cast<float>(T(nan))));
  }
}

}  // namespace dtype_samples
