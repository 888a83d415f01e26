// SPDX-License-Identifier: Apache-2.0
// IEEE 754 binary16, usable in constexpr, host and device code; one of the two files that round.
#pragma once

#include <cstdint>

#include <mixprec/config.hpp>
#include <mixprec/dtype/bits.hpp>

namespace mixprec::inline MIXPREC_ABI {

#if defined(__F16C__) && !defined(__CUDACC__)
namespace detail {
/// F16C's conversion. The compilers' builtin, because <immintrin.h> takes longer to read than all of this library.
inline float convert_by_f16c(std::uint16_t bits) {
  using Halves [[gnu::vector_size(16)]] = short;
  return __builtin_ia32_vcvtph2ps(Halves{static_cast<short>(bits)})[0];
}
}  // namespace detail
#endif

/// Bits of `value` rounded to binary16.
/// Precision: round to nearest, ties to even; subnormals kept; |value| >= 65520 becomes infinity.
/// NaN: every NaN becomes 0x7FFF, the form that CUDA's cvt.rn.f16.f32 gives.
constexpr MIXPREC_HD std::uint16_t to_float16_bits(float value) {
#ifdef __CUDA_ARCH__
  if (!in_constant_evaluation()) {
    std::uint16_t bits;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(value));
    return bits;
  }
#endif
  std::uint32_t bits = bits_as<std::uint32_t>(value);
  std::uint32_t const sign = (bits >> 16) & 0x8000u;
  bits &= 0x7fffffffu;
  if (bits > 0x7f800000u) return 0x7fff;
  if (bits >= 0x477ff000u) return static_cast<std::uint16_t>(sign | 0x7c00u);
  if (bits < 0x38800000u) {
    // Below 2^-14 the result is subnormal. Adding 0.5 puts binary16's last bit (2^-24) at binary32's last bit, so
    // that the addition itself rounds to nearest even.
    float const aligned = bits_as<float>(bits) + 0.5f;
    return static_cast<std::uint16_t>(sign | (bits_as<std::uint32_t>(aligned) - 0x3f000000u));
  }
  bits += 0xc8000fffu + ((bits >> 13) & 1u);  // exponent bias 127 to 15, and half a unit less one, ties to even
  return static_cast<std::uint16_t>(sign | (bits >> 13));
}

/// The float that `bits` stands for; exact. Every NaN becomes 0x7FFFFFFF.
constexpr MIXPREC_HD float from_float16_bits(std::uint16_t bits) {
#ifdef __CUDA_ARCH__
  if (!in_constant_evaluation()) {
    float value;
    asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));
    return value;
  }
#endif
  std::uint32_t const sign = static_cast<std::uint32_t>(bits & 0x8000u) << 16;
  std::uint32_t const magnitude = bits & 0x7fffu;
  if (magnitude > 0x7c00u) return bits_as<float>(0x7fffffffu);
#if defined(__F16C__) && !defined(__CUDACC__)
  if (!in_constant_evaluation()) return detail::convert_by_f16c(bits);
#endif
  if (magnitude == 0x7c00u) return bits_as<float>(sign | 0x7f800000u);
  if (magnitude < 0x0400u) {  // subnormal: an integer multiple of 2^-24
    float const value = static_cast<float>(magnitude) * 0x1p-24f;
    return bits_as<float>(sign | bits_as<std::uint32_t>(value));
  }
  return bits_as<float>(sign | ((magnitude << 13) + 0x38000000u));
}

template <class T>
inline constexpr bool is_cuda_float16 = false;  // cuda_interop.hpp says true for __half

/// IEEE 754 binary16 storage. Arithmetic happens in float: a value converts to float implicitly and back explicitly,
/// so that every rounding is visible.
struct float16 {
  std::uint16_t bits = 0;

  float16() = default;
  constexpr MIXPREC_HD explicit float16(float value) : bits(to_float16_bits(value)) {}
  template <class Half>
    requires(is_cuda_float16<Half>)
  MIXPREC_HD float16(Half value) : bits(bits_as<std::uint16_t>(value)) {}

  constexpr MIXPREC_HD operator float() const { return from_float16_bits(bits); }
  template <class Half>
    requires(is_cuda_float16<Half>)
  MIXPREC_HD explicit operator Half() const { return bits_as<Half>(bits); }

  static constexpr MIXPREC_HD float16 from_bits(std::uint16_t bits) {
    float16 value;
    value.bits = bits;
    return value;
  }
};

}  // namespace mixprec::inline MIXPREC_ABI
