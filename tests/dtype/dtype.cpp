// SPDX-License-Identifier: Apache-2.0
// Names, sizes, traits, promotion and conversions of the dtypes.
#include <mixprec/dtype/dtype.hpp>

#include <doctest/doctest.h>

#include <cfloat>
#include <limits>
#include <string>
#include <type_traits>

#include "samples.hpp"

using mixprec::bfloat16;
using mixprec::DType;
using mixprec::float16;

static_assert(mixprec::floating_dtype<double> && mixprec::floating_dtype<float>);
static_assert(mixprec::floating_dtype<float16> && mixprec::floating_dtype<bfloat16>);
static_assert(!mixprec::floating_dtype<std::int32_t> && !mixprec::floating_dtype<std::uint8_t>);
static_assert(!mixprec::floating_dtype<float*> && !mixprec::floating_dtype<void>);

static_assert(std::is_same_v<mixprec::accumulator_t<float16>, float>);
static_assert(std::is_same_v<mixprec::accumulator_t<bfloat16>, float>);
static_assert(std::is_same_v<mixprec::accumulator_t<float>, float>);
static_assert(std::is_same_v<mixprec::accumulator_t<double>, double>);

// Rounding must be asked for; widening need not be.
static_assert(std::is_convertible_v<float16, float> && std::is_convertible_v<bfloat16, float>);
static_assert(!std::is_convertible_v<float, float16> && !std::is_convertible_v<float, bfloat16>);
static_assert(!std::is_convertible_v<float16, bfloat16> && !std::is_convertible_v<bfloat16, float16>);

namespace {

template <class T>
void check_type(DType dtype, char const* name) {
  CAPTURE(name);
  CHECK(mixprec::dtype_of_v<T> == dtype);
  CHECK(mixprec::name_of(dtype) == std::string(name));
  CHECK(mixprec::size_of(dtype) == sizeof(T));
  CHECK(mixprec::is_floating(dtype) == mixprec::floating_dtype<T>);
}

/// Traits against the type's own rounding, without a table of constants.
template <class T>
void check_traits() {
  constexpr mixprec::FloatTraits traits = mixprec::float_traits_v<T>;
  auto const rounded = [](double value) { return static_cast<double>(mixprec::convert<T>(value)); };
  CAPTURE(mixprec::name_of(mixprec::dtype_of_v<T>));
  CHECK(rounded(1.0 + traits.eps) == 1.0 + traits.eps);
  CHECK(rounded(1.0 + traits.eps / 2) == 1.0);
  CHECK(traits.eps == std::ldexp(1.0, 1 - traits.significand_bits));
  CHECK(rounded(traits.max) == traits.max);
  CHECK(std::isinf(rounded(traits.max * (1.0 + traits.eps / 2))));
  CHECK(rounded(traits.min_normal) == traits.min_normal);
  CHECK(rounded(traits.min_normal * (1.0 + traits.eps)) == traits.min_normal * (1.0 + traits.eps));
  CHECK(rounded(traits.min_subnormal) == traits.min_subnormal);
  CHECK(rounded(traits.min_subnormal / 2) == 0.0);
  CHECK(traits.min_normal == traits.min_subnormal / traits.eps);
}

}  // namespace

TEST_CASE("each dtype has its type, its PyTorch name and its size") {
  check_type<double>(DType::float64, "float64");
  check_type<float>(DType::float32, "float32");
  check_type<float16>(DType::float16, "float16");
  check_type<bfloat16>(DType::bfloat16, "bfloat16");
  check_type<std::int64_t>(DType::int64, "int64");
  check_type<std::int32_t>(DType::int32, "int32");
  check_type<std::uint8_t>(DType::uint8, "uint8");
}

TEST_CASE("the traits agree with how each type rounds") {
  check_traits<float16>();
  check_traits<bfloat16>();
  check_traits<float>();
}

TEST_CASE("the traits of float and double are the standard library's") {
  CHECK(mixprec::float_traits_v<float>.eps == FLT_EPSILON);
  CHECK(mixprec::float_traits_v<float>.max == FLT_MAX);
  CHECK(mixprec::float_traits_v<float>.min_normal == FLT_MIN);
  CHECK(mixprec::float_traits_v<float>.min_subnormal == std::numeric_limits<float>::denorm_min());
  CHECK(mixprec::float_traits_v<float>.significand_bits == FLT_MANT_DIG);
  CHECK(mixprec::float_traits_v<double>.eps == DBL_EPSILON);
  CHECK(mixprec::float_traits_v<double>.max == DBL_MAX);
  CHECK(mixprec::float_traits_v<double>.min_normal == DBL_MIN);
  CHECK(mixprec::float_traits_v<double>.min_subnormal == std::numeric_limits<double>::denorm_min());
  CHECK(mixprec::float_traits_v<double>.significand_bits == DBL_MANT_DIG);
}

TEST_CASE("promotion gives PyTorch's table, and float16 with bfloat16 gives float32") {
  constexpr DType d = DType::float64, f = DType::float32, h = DType::float16, b = DType::bfloat16;
  constexpr DType order[] = {d, f, h, b};
  constexpr DType table[4][4] = {{d, d, d, d}, {d, f, f, f}, {d, f, h, f}, {d, f, f, b}};
  for (int i = 0; i < 4; ++i) {
    for (int j = 0; j < 4; ++j) {
      CAPTURE(i);
      CAPTURE(j);
      CHECK(mixprec::promote(order[i], order[j]) == table[i][j]);
    }
  }
}

TEST_CASE("representable tells what a dtype overflows or flushes to zero") {
  CHECK(mixprec::representable(65504.0, DType::float16));
  CHECK_FALSE(mixprec::representable(-65536.0, DType::float16));
  CHECK(mixprec::representable(65536.0, DType::bfloat16));
  CHECK(mixprec::representable(0x1p-24, DType::float16));
  CHECK_FALSE(mixprec::representable(1e-8, DType::float16));
  CHECK(mixprec::representable(1e-8, DType::bfloat16));
  CHECK(mixprec::representable(0.0, DType::float16));
  CHECK_FALSE(mixprec::representable(1e300, DType::float32));
  CHECK_FALSE(mixprec::representable(std::numeric_limits<double>::quiet_NaN(), DType::float64));
}

TEST_CASE("convert between the 16-bit types goes through float, which holds both") {
  for (std::uint32_t pattern = 0; pattern <= 0xffff; ++pattern) {
    auto const bits = static_cast<std::uint16_t>(pattern);
    auto const half = float16::from_bits(bits);
    auto const brain = bfloat16::from_bits(bits);
    REQUIRE(mixprec::convert<bfloat16>(half).bits == bfloat16(static_cast<float>(half)).bits);
    REQUIRE(mixprec::convert<float16>(brain).bits == float16(static_cast<float>(brain)).bits);
    REQUIRE(mixprec::convert<float16>(half).bits == float16(static_cast<float>(half)).bits);
  }
}

TEST_CASE("convert widens exactly") {
  CHECK(mixprec::convert<double>(float16::from_bits(0x3555)) == 0x1.554p-2);
  CHECK(mixprec::convert<float>(bfloat16::from_bits(0x3eab)) == 0x1.56p-2f);
  CHECK(mixprec::convert<double>(0.1f) == static_cast<double>(0.1f));
  CHECK(mixprec::convert<float>(0.1) == 0.1f);
}
