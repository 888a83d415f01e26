// SPDX-License-Identifier: Apache-2.0
// Reinterpreting bits between types of two sizes would read or lose bytes.
// expect-error: mixprec: bits_as: the two types differ in size. Use types of one size.
#include <cstdint>

#include <mixprec/dtype/bits.hpp>

#ifdef MIXPREC_CONTROL
using Bits = std::uint32_t;
#else
using Bits = std::uint16_t;
#endif

static_assert(mixprec::bits_as<Bits>(1.0f) != 0);
