// SPDX-License-Identifier: Apache-2.0
// The one place that launches kernels, and the sizes of grids. Every launch is checked under its kernel's name.
#pragma once

#include <algorithm>  // std::min, std::max
#include <cstdint>
#include <string>

#include <mixprec/backend/cuda/check.hpp>
#include <mixprec/backend/cuda/stream.hpp>
#include <mixprec/error.hpp>

namespace mixprec::inline MIXPREC_ABI::cuda::detail {

constexpr MIXPREC_HD std::int64_t divide_up(std::int64_t value, std::int64_t by) { return (value + by - 1) / by; }

/// Smallest power of two that is at least `value`, at most `limit` (a power of two itself).
constexpr int power_of_two_at_least(std::int64_t value, int limit) {
  int power = 1;
  while (power < value && power < limit) power *= 2;
  return power;
}

/// Launches `kernel` on the stream. Sync: none. Errors: Error with `name` where the launch is refused.
template <class... Parameters, class... Arguments>
void launch(Stream& stream, char const* name, dim3 grid, int threads, void (*kernel)(Parameters...),
            Arguments const&... arguments) {
  kernel<<<grid, static_cast<unsigned>(threads), 0, stream.handle()>>>(static_cast<Parameters>(arguments)...);
  check(cudaGetLastError(), name);
}

/// A count of blocks as a grid's x extent. Errors: Error where it is over CUDA's limit of 2^31 - 1.
inline unsigned grid_extent(char const* name, std::int64_t blocks) {
  if (blocks > INT32_MAX) {
    throw Error("cuda: " + std::string(name) + " needs " + std::to_string(blocks) +
                " blocks, over the limit of 2147483647. Split the tensor.");
  }
  return static_cast<unsigned>(blocks);
}

/// A launch over `items` that do not depend on each other: one item a thread.
struct FlatGrid {
  int threads;
  unsigned blocks;
};

/// Blocks get small where the items are few, so that every multiprocessor has one. `items_per_thread` is how many items
/// one thread takes in one go.
inline FlatGrid flat_grid(Stream const& stream, char const* name, std::int64_t items, int items_per_thread = 1) {
  int threads = 256;
  std::int64_t const wanted = std::int64_t{2} * stream.multiprocessors();
  while (threads > 64 && items < wanted * threads * items_per_thread) threads /= 2;
  return {threads, grid_extent(name, divide_up(items, std::int64_t{threads} * items_per_thread))};
}

/// Quotient and remainder of an index; 64-bit division only where the values need it, since it costs four times as
/// much.
struct Split {
  std::int64_t quotient, remainder;
};
__device__ inline Split split(std::int64_t index, std::int64_t by) {
  if ((index | by) <= INT32_MAX) {
    std::uint32_t const small = static_cast<std::uint32_t>(index), divisor = static_cast<std::uint32_t>(by);
    std::uint32_t const quotient = small / divisor;
    return {static_cast<std::int64_t>(quotient), static_cast<std::int64_t>(small - quotient * divisor)};
  }
  std::int64_t const quotient = index / by;
  return {quotient, index - quotient * by};
}

}  // namespace mixprec::inline MIXPREC_ABI::cuda::detail
