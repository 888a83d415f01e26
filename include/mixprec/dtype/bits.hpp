// SPDX-License-Identifier: Apache-2.0
// Reinterpretation of bits for constexpr, host and device code; std::bit_cast is host-only to nvcc.
#pragma once

#include <mixprec/config.hpp>

namespace mixprec::inline MIXPREC_ABI {

/// `value`'s bits as a `To` of the same size.
template <class To, class From>
constexpr MIXPREC_HD To bits_as(From value) {
  static_assert(sizeof(To) == sizeof(From), "mixprec: bits_as: the two types differ in size. Use types of one size.");
  return __builtin_bit_cast(To, value);
}

/// True while the compiler evaluates a constant; std::is_constant_evaluated for device code too.
constexpr MIXPREC_HD bool in_constant_evaluation() { return __builtin_is_constant_evaluated(); }

}  // namespace mixprec::inline MIXPREC_ABI
