// SPDX-License-Identifier: Apache-2.0
// Dropout whose mask is a function of (seed, stream, element): backward computes it again instead of storing it.
#pragma once

#include <mixprec/backend/cpu/partition.hpp>
#include <mixprec/backend/philox.hpp>

namespace mixprec::inline MIXPREC_ABI::cpu {

/// y[i] = kept(i) ? x[i] / (1 - p) : 0, where kept(i) is uniform >= p (p rounded to float). The uniform of element i is
/// word i % 4 of Philox(key = *seed, counter = i / 4, stream_id). The same call on dy is the backward.
template <floating_dtype X, floating_dtype Y>
void dropout(Stream& stream, X const* x, Y* y, std::int64_t n, double p, std::uint64_t const* seed,
             std::uint64_t stream_id) {
  using Acc = arithmetic_t<X, Y>;
  constexpr std::int64_t blocks = 64;  // Philox calls side by side, so that they become vector code
  std::uint64_t const key = *seed;
  float const threshold = static_cast<float>(p);
  Acc const factor = static_cast<Acc>(1.0 / (1.0 - p));
  parallel_for(stream, n, 4 * blocks * 16, [=](std::int64_t begin, std::int64_t end) {
    float uniform[4 * blocks];
    for (std::int64_t base = begin; base < end; base += 4 * blocks) {
      std::uint64_t const counter = static_cast<std::uint64_t>(base) / 4;
      for (std::int64_t block = 0; block < blocks; ++block) {
        Philox4 const words = philox4x32_10(key, counter + static_cast<std::uint64_t>(block), stream_id);
        for (int word = 0; word < 4; ++word) uniform[4 * block + word] = uniform_from(words.v[word]);
      }
      std::int64_t const count = std::min(end - base, 4 * blocks);
      X const* __restrict from = x + base;
      Y* __restrict to = y + base;
      for (std::int64_t i = 0; i < count; ++i) {
        Acc const scaled = convert<Acc>(from[i]) * factor;
        to[i] = convert<Y>(uniform[i] >= threshold ? scaled : Acc{0});
      }
    }
  });
}

/// dropout of whole channels: kept(image, channel) is the uniform of element image * c + channel in dropout's sense.
/// Shapes: x and y (n,hw,c). The same call on dy is the backward.
template <floating_dtype X, floating_dtype Y>
void dropout2d(Stream& stream, std::int64_t n, std::int64_t hw, std::int64_t c, X const* x, Y* y, double p,
               std::uint64_t const* seed, std::uint64_t stream_id) {
  using Acc = arithmetic_t<X, Y>;
  std::uint64_t const key = *seed;
  float const threshold = static_cast<float>(p);
  Acc const factor = static_cast<Acc>(1.0 / (1.0 - p));
  auto* const scales = static_cast<Acc*>(stream.scratch(static_cast<std::size_t>(n * c) * sizeof(Acc)));
  for (std::int64_t i = 0; i < n * c; ++i) {
    std::uint32_t const word = philox4x32_10(key, static_cast<std::uint64_t>(i) / 4, stream_id).v[i % 4];
    scales[i] = uniform_from(word) >= threshold ? factor : Acc{0};
  }
  parallel_for(stream, n * hw, detail::row_grain(c), [=](std::int64_t row, std::int64_t end) {
    for (; row < end; ++row) {
      Acc const* __restrict scale = scales + row / hw * c;
      X const* __restrict from = x + row * c;
      Y* __restrict to = y + row * c;
      for (std::int64_t j = 0; j < c; ++j)
        to[j] = convert<Y>(scale[j] != 0 ? convert<Acc>(from[j]) * scale[j] : Acc{0});
    }
  });
}

/// Moves a step's 64-bit key on to the next step's. The constant is odd, so 2^64 steps differ.
inline void advance_seed(Stream&, std::uint64_t* seed) { *seed += 0x9e3779b97f4a7c15u; }

}  // namespace mixprec::inline MIXPREC_ABI::cpu
