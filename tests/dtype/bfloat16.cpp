// SPDX-License-Identifier: Apache-2.0
// bfloat16 on the host: round trips, rounding against doubles, constants.
#include <mixprec/dtype/bfloat16.hpp>

#include "round_trip_cases.hpp"

using dtype_samples::bfloat16_format;
using mixprec::bfloat16;

static_assert(sizeof(bfloat16) == 2);
static_assert(bfloat16(1.0f).bits == 0x3f80);
static_assert(bfloat16(-2.0f).bits == 0xc000);
static_assert(bfloat16(-0.0f).bits == 0x8000);
static_assert(bfloat16(0x1.fep127f).bits == 0x7f7f);
static_assert(bfloat16(0x1.fefffep127f).bits == 0x7f7f);
static_assert(bfloat16(0x1.ffp127f).bits == 0x7f80);  // halfway beyond the largest: infinity
static_assert(bfloat16(-0x1.ffp127f).bits == 0xff80);
static_assert(bfloat16(0x1p-126f).bits == 0x0080);
static_assert(bfloat16(0x1p-133f).bits == 0x0001);
static_assert(bfloat16(0x1p-134f).bits == 0x0000);           // a tie, to even
static_assert(bfloat16(0x1.8p-133f).bits == 0x0002);         // a tie, to even upwards
static_assert(bfloat16(1.0f + 0x1p-8f).bits == 0x3f80);      // a tie, to even
static_assert(bfloat16(1.0f + 3 * 0x1p-8f).bits == 0x3f82);  // a tie, to even upwards
static_assert(static_cast<float>(bfloat16::from_bits(0x0001)) == 0x1p-133f);
static_assert(static_cast<float>(bfloat16::from_bits(0x7f7f)) == 0x1.fep127f);
static_assert(bfloat16().bits == 0);

TEST_CASE("every bfloat16 pattern stands for the number of its definition and comes back from float") {
  dtype_samples::check_all_patterns_round_trip<bfloat16>(bfloat16_format);
}

TEST_CASE("float rounds to bfloat16 as a double computation does, in all halfway cases and beside them") {
  dtype_samples::check_rounding_against_doubles<bfloat16>(bfloat16_format);
}

TEST_CASE("every NaN becomes bfloat16's one NaN") { dtype_samples::check_nan_form<bfloat16>(); }

TEST_CASE("bfloat16 to float keeps the payload of a NaN") {
  for (std::uint32_t bits : {0x7f81u, 0x7fc0u, 0xffc1u, 0x7fffu}) {
    float const value = mixprec::from_bfloat16_bits(static_cast<std::uint16_t>(bits));
    CHECK(std::bit_cast<std::uint32_t>(value) == bits << 16);
  }
}
