// SPDX-License-Identifier: Apache-2.0
// Merges the sums that the blocks of an earlier kernel left in scratch memory, in a fixed order and with one rounding.
#pragma once

#include <cstdint>

#include <mixprec/backend/cuda/dynamic_shared.cuh>
#include <mixprec/backend/cuda/launch.cuh>
#include <mixprec/backend/cuda/stream.hpp>
#include <mixprec/backend/cuda/vector.cuh>
#include <mixprec/dtype/dtype.hpp>

namespace mixprec::inline MIXPREC_ABI::cuda::detail {

inline constexpr int merge_lanes_across = 32, merge_lanes_down = 8;

/// Elements from one row of partial sums to the next: `count`, rounded up to whole accesses.
constexpr std::int64_t partial_sums_pitch(std::int64_t count) { return divide_up(count, 4) * 4; }

// A block takes four sums a thread across, and eight threads down share the parts.
template <class T>
__global__ void __launch_bounds__(merge_lanes_across* merge_lanes_down)
    merge_partial_sums_kernel(int parts, int count, int pitch, float const* partials, T* result) {
  using Sums = Vector<float, 4>;
  auto* const shared = dynamic_shared<Sums>();
  int const across = static_cast<int>(threadIdx.x) % merge_lanes_across;
  int const down = static_cast<int>(threadIdx.x) / merge_lanes_across;
  int const at = (static_cast<int>(blockIdx.x) * merge_lanes_across + across) * 4;
  Sums sums{};
  if (at + 4 <= count) {
#pragma unroll 8
    for (int part = down; part < parts; part += merge_lanes_down) {
      Sums const more = load<4>(partials + std::int64_t{part} * pitch + at);
#pragma unroll
      for (int i = 0; i < 4; ++i) sums.element[i] += more.element[i];
    }
  } else {  // behind the last sum nothing has been written
    for (int part = down; part < parts; part += merge_lanes_down) {
#pragma unroll
      for (int i = 0; i < 3; ++i) {
        if (at + i < count) sums.element[i] += partials[std::int64_t{part} * pitch + at + i];
      }
    }
  }
  shared[threadIdx.x] = sums;
  __syncthreads();
  if (down != 0 || at >= count) return;
  Vector<T, 4> rounded;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    float sum = 0;
#pragma unroll
    for (int row = 0; row < merge_lanes_down; ++row) sum += shared[row * merge_lanes_across + across].element[i];
    rounded.element[i] = convert<T>(sum);
  }
  if (at + 4 <= count) {
    store(result + at, rounded);
  } else {
#pragma unroll
    for (int i = 0; i < 3; ++i) {
      if (at + i < count) result[at + i] = rounded.element[i];
    }
  }
}

/// result(count) = sum of the rows of partials(parts, count), which are partial_sums_pitch(count) apart.
template <class T>
void merge_partial_sums(Stream& stream, char const* name, std::int64_t parts, std::int64_t count, float const* partials,
                        T* result) {
  constexpr int threads = merge_lanes_across * merge_lanes_down;
  launch_with_memory(stream, name, grid_extent(name, divide_up(count, 4 * merge_lanes_across)), threads,
                     threads * sizeof(Vector<float, 4>), merge_partial_sums_kernel<T>, static_cast<int>(parts),
                     static_cast<int>(count), static_cast<int>(partial_sums_pitch(count)), partials, result);
}

}  // namespace mixprec::inline MIXPREC_ABI::cuda::detail
