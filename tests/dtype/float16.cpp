// SPDX-License-Identifier: Apache-2.0
// float16 on the host: round trips, rounding against doubles and against the CPU's own conversion, constants.
#include <mixprec/dtype/float16.hpp>

#include "../skip.hpp"
#include "round_trip_cases.hpp"

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#endif

using dtype_samples::float16_format;
using mixprec::float16;

static_assert(sizeof(float16) == 2);
static_assert(float16(1.0f).bits == 0x3c00);
static_assert(float16(-2.0f).bits == 0xc000);
static_assert(float16(65504.0f).bits == 0x7bff);
static_assert(float16(65519.996f).bits == 0x7bff);
static_assert(float16(65520.0f).bits == 0x7c00);
static_assert(float16(-65520.0f).bits == 0xfc00);
static_assert(float16(-0.0f).bits == 0x8000);
static_assert(float16(0x1p-14f).bits == 0x0400);
static_assert(float16(0x1p-24f).bits == 0x0001);
static_assert(float16(0x1p-25f).bits == 0x0000);             // a tie, to even
static_assert(float16(0x1.000002p-25f).bits == 0x0001);      // just above it
static_assert(float16(0x1.8p-24f).bits == 0x0002);           // a tie, to even upwards
static_assert(float16(1.0f + 0x1p-11f).bits == 0x3c00);      // a tie, to even
static_assert(float16(1.0f + 3 * 0x1p-11f).bits == 0x3c02);  // a tie, to even upwards
static_assert(static_cast<float>(float16::from_bits(0x0001)) == 0x1p-24f);
static_assert(static_cast<float>(float16::from_bits(0x7bff)) == 65504.0f);
static_assert(float16().bits == 0);

TEST_CASE("every float16 pattern stands for the number of its definition and comes back from float") {
  dtype_samples::check_all_patterns_round_trip<float16>(float16_format);
}

TEST_CASE("float rounds to float16 as a double computation does, in all halfway cases and beside them") {
  dtype_samples::check_rounding_against_doubles<float16>(float16_format);
}

TEST_CASE("every NaN becomes float16's one NaN") { dtype_samples::check_nan_form<float16>(); }

#if defined(__x86_64__)
namespace {

bool cpu_has_f16c() {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  return __get_cpuid(1, &eax, &ebx, &ecx, &edx) != 0 && (ecx & bit_F16C) != 0 && __builtin_cpu_supports("avx");
}

__attribute__((target("avx,f16c"))) int differences_from_f16c(std::vector<float> const& values) {
  int wrong = 0;
  for (float value : values) {
    wrong += float16(value).bits != static_cast<std::uint16_t>(_cvtss_sh(value, _MM_FROUND_TO_NEAREST_INT));
  }
  for (std::uint32_t bits = 0; bits <= 0xffff; ++bits) {
    float const ours = float16::from_bits(static_cast<std::uint16_t>(bits));
    float const theirs = _cvtsh_ss(static_cast<std::uint16_t>(bits));
    bool const same = std::bit_cast<std::uint32_t>(ours) == std::bit_cast<std::uint32_t>(theirs);
    wrong += !same && !(std::isnan(ours) && std::isnan(theirs));
  }
  return wrong;
}

}  // namespace

TEST_CASE("float16 agrees bit for bit with the CPU's F16C conversions, both ways") {
  if (!cpu_has_f16c() && skipped("this CPU has no F16C")) return;
  CHECK(differences_from_f16c(dtype_samples::samples(float16_format)) == 0);
}
#endif

TEST_CASE("float16 rounds in constant evaluation as at run time") {
  constexpr float inputs[] = {0.1f, 65519.0f, 1e-7f, 3.0e-8f, -1234.567f, 0x1.ffep-15f, 0x1.fffp-15f};
  constexpr std::uint16_t at_compile_time[] = {
      float16(inputs[0]).bits, float16(inputs[1]).bits, float16(inputs[2]).bits, float16(inputs[3]).bits,
      float16(inputs[4]).bits, float16(inputs[5]).bits, float16(inputs[6]).bits};
  for (int i = 0; i < 7; ++i) {
    float volatile input = inputs[i];
    CHECK(float16(input).bits == at_compile_time[i]);
  }
}
