// SPDX-License-Identifier: Apache-2.0
// Random numbers for data on the host: integers only, so that order, augmentation and drawn images are the same on
// every platform, and cheap to start anew for every image.
#pragma once

#include <cstdint>

#include <mixprec/config.hpp>

namespace mixprec::inline MIXPREC_ABI {

/// The n-th value is a hash of (key, n), and the key a hash of whatever identifies the sequence: an image's numbers do
/// not depend on which images came before it.
/// Source: the mixing function of SplitMix64 (Steele, Lea and Flood, 2014; constants of Stafford's variant 13).
class CounterRandom {
 public:
  constexpr explicit CounterRandom(std::uint64_t seed, std::uint64_t a = 0, std::uint64_t b = 0)
      : key_(mixed(mixed(mixed(seed + stride) + a) + b)) {}

  constexpr std::uint64_t next() { return mixed(key_ + stride * ++counter_); }

  /// Uniform in [0, bound); the bias is below bound / 2^64. `bound` must be positive.
  constexpr std::uint64_t below(std::uint64_t bound) { return next() % bound; }

  /// Uniform in [low, high], both included.
  constexpr int between(int low, int high) {
    return low + static_cast<int>(below(static_cast<std::uint64_t>(high - low) + 1));
  }

 private:
  static constexpr std::uint64_t stride = 0x9e3779b97f4a7c15;  // 2^64 over the golden ratio: every counter bit spreads

  static constexpr std::uint64_t mixed(std::uint64_t x) {
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
    x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
    return x ^ (x >> 31);
  }

  std::uint64_t key_, counter_ = 0;
};

}  // namespace mixprec::inline MIXPREC_ABI
