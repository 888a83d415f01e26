// SPDX-License-Identifier: Apache-2.0
// The counter-based random generator of dropout: one function for host and device code, so that masks are equal.
#pragma once

#include <cstdint>

#include <mixprec/config.hpp>

namespace mixprec::inline MIXPREC_ABI {

/// Four words of random bits.
struct Philox4 {
  std::uint32_t v[4];
};

/// Philox4x32 with ten rounds. The low words of key and counter come first; `stream_id` is the counter's upper half.
/// Source: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
constexpr MIXPREC_HD Philox4 philox4x32_10(std::uint64_t key, std::uint64_t counter, std::uint64_t stream_id) {
  std::uint32_t c0 = static_cast<std::uint32_t>(counter), c1 = static_cast<std::uint32_t>(counter >> 32);
  std::uint32_t c2 = static_cast<std::uint32_t>(stream_id), c3 = static_cast<std::uint32_t>(stream_id >> 32);
  std::uint32_t k0 = static_cast<std::uint32_t>(key), k1 = static_cast<std::uint32_t>(key >> 32);
  for (int round = 0; round < 10; ++round) {
    std::uint64_t const product0 = std::uint64_t{0xD2511F53u} * c0;
    std::uint64_t const product1 = std::uint64_t{0xCD9E8D57u} * c2;
    std::uint32_t const next0 = static_cast<std::uint32_t>(product1 >> 32) ^ c1 ^ k0;
    std::uint32_t const next2 = static_cast<std::uint32_t>(product0 >> 32) ^ c3 ^ k1;
    c1 = static_cast<std::uint32_t>(product1);
    c3 = static_cast<std::uint32_t>(product0);
    c0 = next0;
    c2 = next2;
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return Philox4{{c0, c1, c2, c3}};
}

/// A float in [0, 1) from the word's upper 24 bits; exact.
constexpr MIXPREC_HD float uniform_from(std::uint32_t word) { return static_cast<float>(word >> 8) * 0x1p-24f; }

}  // namespace mixprec::inline MIXPREC_ABI
