// SPDX-License-Identifier: Apache-2.0
// bfloat16 (binary32's exponent, eight bits of significand), usable in constexpr, host and device code.
#pragma once

#include <cstdint>

#include <mixprec/config.hpp>
#include <mixprec/dtype/bits.hpp>

namespace mixprec::inline MIXPREC_ABI {

/// Bits of `value` rounded to bfloat16.
/// Precision: round to nearest, ties to even; subnormals kept; overflow becomes infinity.
/// NaN: every NaN becomes 0x7FFF, the form that CUDA's cvt.rn.bf16.f32 gives.
constexpr MIXPREC_HD std::uint16_t to_bfloat16_bits(float value) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  if (!in_constant_evaluation()) {
    std::uint16_t bits;
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(bits) : "f"(value));
    return bits;
  }
#endif
  // One expression without branches, so that loops over arrays become vector code.
  std::uint32_t const bits = bits_as<std::uint32_t>(value);
  std::uint32_t const rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  return static_cast<std::uint16_t>((bits & 0x7fffffffu) > 0x7f800000u ? 0x7fffu : rounded);
}

/// The float that `bits` stands for; exact, a NaN keeps its payload.
constexpr MIXPREC_HD float from_bfloat16_bits(std::uint16_t bits) {
  return bits_as<float>(static_cast<std::uint32_t>(bits) << 16);
}

template <class T>
inline constexpr bool is_cuda_bfloat16 = false;  // cuda_interop.hpp says true for __nv_bfloat16

/// bfloat16 storage. Arithmetic happens in float: a value converts to float implicitly and back explicitly, so that
/// every rounding is visible.
struct bfloat16 {
  std::uint16_t bits = 0;

  bfloat16() = default;
  constexpr MIXPREC_HD explicit bfloat16(float value) : bits(to_bfloat16_bits(value)) {}
  template <class BFloat>
    requires(is_cuda_bfloat16<BFloat>)
  MIXPREC_HD bfloat16(BFloat value) : bits(bits_as<std::uint16_t>(value)) {}

  constexpr MIXPREC_HD operator float() const { return from_bfloat16_bits(bits); }
  template <class BFloat>
    requires(is_cuda_bfloat16<BFloat>)
  MIXPREC_HD explicit operator BFloat() const { return bits_as<BFloat>(bits); }

  static constexpr MIXPREC_HD bfloat16 from_bits(std::uint16_t bits) {
    bfloat16 value;
    value.bits = bits;
    return value;
  }
};

}  // namespace mixprec::inline MIXPREC_ABI
