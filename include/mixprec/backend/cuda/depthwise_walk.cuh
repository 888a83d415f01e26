// SPDX-License-Identifier: Apache-2.0
// What the depthwise 3x3 kernels share: how channels, columns and rows are dealt out to threads, the window's weights
// in registers, and how a thread brings in its pixels ahead of time.
#pragma once

#include <algorithm>  // std::clamp
#include <cstdint>
#include <type_traits>

#include <mixprec/backend/cuda/launch.cuh>
#include <mixprec/backend/cuda/stream.hpp>
#include <mixprec/backend/cuda/vector.cuh>
#include <mixprec/backend/depthwise_geometry.hpp>
#include <mixprec/backend/geometry.hpp>
#include <mixprec/dtype/dtype.hpp>

namespace mixprec::inline MIXPREC_ABI::cuda::detail {

/// Channels that a thread takes where their number allows it, else one: an access of eight bytes, and half a warp of
/// them is one line of 128. That is the traffic of sixteen bytes a thread, with the sums and the weights of a window in
/// half as many registers, so that more threads have rows on their way from memory.
template <class T>
inline constexpr int depthwise_channels = 8 / static_cast<int>(sizeof(T));
/// Neighbouring outputs of a phase that a thread takes.
inline constexpr int depthwise_columns = 4;
inline constexpr int depthwise_inputs = depthwise_columns + 2;
/// Rows that a thread brings in ahead of the one it works on. Rows take turns in three buffers, as outputs do in three
/// sets of sums.
inline constexpr int depthwise_ahead = 2;

using DepthwiseStrip = PhaseStrip<depthwise_columns>;

/// Channels of a part of a tensor that one block works on: `across` threads side by side.
struct DepthwiseLanes {
  int across;
  std::int64_t chunks;  // of the channels
};

/// As many threads side by side as a line of 128 bytes takes, fewer where many would have no channel.
template <class T, int W>
DepthwiseLanes depthwise_lanes(std::int64_t channels) {
  constexpr int line = 128 / static_cast<int>(W * sizeof(T)), most = line < 32 ? line : 32;
  std::int64_t const vectors = channels / W;
  int across = power_of_two_at_least(vectors, most);
  auto const idle = [&] { return divide_up(vectors, across) * across - vectors; };
  while (across > 4 && 8 * idle() > vectors) across /= 2;
  return {across, divide_up(vectors, across)};
}

/// A convolution of stride 1 as its kernels see it. Blocks of one part of the rows lie side by side in the grid, so
/// that whole pixels are read at a time. Walker i of a block takes one strip of columns of one image, and all of a
/// block's walkers go down the same rows: what neighbours share is in the first-level cache.
struct DepthwiseShape {
  DilatedAxis rows, columns;
  std::int64_t channels;
  int across, chunks;
  int strips_per_phase;
  int strips;             // of one image
  std::int64_t tasks;     // strips of all images
  std::int64_t all_rows;  // rows of outputs, for as many strips at a time as a block has walkers
  int parts;              // of all_rows
};

/// Deals out the rows so that one block a multiprocessor, which is what `threads` are chosen for, fills the device
/// once.
template <class T, int W>
DepthwiseShape depthwise_shape(Stream const& stream, std::int64_t images, std::int64_t channels,
                               DilatedAxis const& rows, DilatedAxis const& columns, int threads) {
  constexpr std::int64_t least = 4;  // rows to a block, since it reads two more
  DepthwiseLanes const lanes = depthwise_lanes<T, W>(channels);
  DepthwiseShape shape{rows, columns, channels, lanes.across, static_cast<int>(lanes.chunks)};
  shape.strips_per_phase = DepthwiseStrip::per_phase(columns);
  shape.strips = DepthwiseStrip::count(columns);
  shape.tasks = images * shape.strips;
  shape.all_rows = divide_up(shape.tasks, threads / lanes.across) * rows.out;
  std::int64_t const slots = stream.multiprocessors() / lanes.chunks;
  shape.parts = static_cast<int>(std::clamp<std::int64_t>(slots, 1, divide_up(shape.all_rows, least)));
  return shape;
}

/// W elements as floats.
template <int W, class T>
__device__ void widen_vector(Vector<T, W> const& from, float (&to)[W]) {
#pragma unroll
  for (int e = 0; e < W; ++e) to[e] = convert<float>(from.element[e]);
}

/// W elements as they lie in memory: while they wait in registers they stay in whole words.
template <class T, int W>
struct PackedPixel {
  static_assert(W == 1 || W * sizeof(T) == 8, "mixprec: depthwise: a thread takes one channel or eight bytes of them.");
  using Words =
      std::conditional_t<W * sizeof(T) == 8, uint2, std::conditional_t<sizeof(T) == 4, unsigned, unsigned short>>;
  Words words;

  __device__ void fetch(T const* p) { words = __ldg(reinterpret_cast<Words const*>(p)); }
  // Written out, because the compiler takes a conditional store of a struct apart into its elements.
  __device__ void store(T* p) const {
    if constexpr (sizeof(Words) == 8) {
      asm volatile("st.global.v2.b32 [%0], {%1, %2};" : : "l"(p), "r"(words.x), "r"(words.y) : "memory");
    } else {
      *reinterpret_cast<Words*>(p) = words;
    }
  }
  __device__ void round(float const (&from)[W]) {
    Vector<T, W> rounded;
#pragma unroll
    for (int e = 0; e < W; ++e) rounded.element[e] = convert<T>(from[e]);
    words = __builtin_bit_cast(Words, rounded);
  }
  __device__ void widen(float (&to)[W]) const { widen_vector(__builtin_bit_cast(Vector<T, W>, words), to); }
};

/// The windows of W channels from `channel`, as floats; w(C,3,3). `Flipped`: turned around.
template <int W, bool Flipped, class T>
__device__ void load_windows(T const* w, std::int64_t channel, float (&windows)[9][W]) {
#pragma unroll
  for (int i = 0; i < 9; ++i) {
    Vector<T, W> const part = load<W>(w + channel * 9 + i * W);
#pragma unroll
    for (int e = 0; e < W; ++e) {
      int const at = i * W + e, tap = at % 9;
      windows[Flipped ? 8 - tap : tap][at / 9] = convert<float>(part.element[e]);
    }
  }
}

/// Where a thread stands in a tensor: one of a block's strips, and its channels.
struct DepthwisePlace {
  std::int64_t image;
  std::int64_t channel;
  DepthwiseStrip strip;

  /// Of the block's `group`th set of strips. A thread without a strip or without channels has no columns.
  static __device__ DepthwisePlace of(DepthwiseShape const& shape, std::int64_t group, std::int64_t channel) {
    int const walkers = static_cast<int>(blockDim.x) / shape.across;
    std::int64_t const task = group * walkers + static_cast<int>(threadIdx.x) / shape.across;
    Split const at = split(task, shape.strips);
    DepthwisePlace place{at.quotient, channel,
                         DepthwiseStrip(shape.columns, shape.strips_per_phase, static_cast<int>(at.remainder))};
    if (task >= shape.tasks || channel >= shape.channels) place.strip.inputs = place.strip.outputs = 0;
    return place;
  }
};

/// The part of the rows that a block takes: runs of rows within one set of strips.
struct DepthwiseRun {
  std::int64_t group;
  int begin, end;  // outputs, in the order of phases
};

/// Calls body(run) for the runs of rows of this block.
template <class Body>
__device__ void for_each_run(DepthwiseShape const& shape, Body const& body) {
  std::int64_t const part = blockIdx.x / static_cast<unsigned>(shape.chunks);
  std::int64_t at = shape.all_rows * part / shape.parts;
  std::int64_t const end = shape.all_rows * (part + 1) / shape.parts;
  while (at < end) {
    Split const split_at = split(at, shape.rows.out);
    std::int64_t const left = end - at;
    int const begin = static_cast<int>(split_at.remainder), room = shape.rows.out - begin;
    int const count = left < room ? static_cast<int>(left) : room;
    body(DepthwiseRun{split_at.quotient, begin, begin + count});
    at += count;
  }
}

}  // namespace mixprec::inline MIXPREC_ABI::cuda::detail
