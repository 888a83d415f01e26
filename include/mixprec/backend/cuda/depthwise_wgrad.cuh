// SPDX-License-Identifier: Apache-2.0
// Weight gradient of depthwise 3x3 convolutions. Each block sums over a part of the rows, and a second kernel adds up
// the blocks' sums in a fixed order.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include <mixprec/backend/cuda/depthwise_walk.cuh>
#include <mixprec/backend/cuda/partial_sums.cuh>

namespace mixprec::inline MIXPREC_ABI::cuda::detail {

inline constexpr int depthwise_wgrad_threads = 384;  // one block a multiprocessor: the sums need many registers
inline constexpr int depthwise_wgrad_warps = depthwise_wgrad_threads / 32;

/// Which columns of a strip exist.
struct StripMasks {
  unsigned inputs, outputs;
  /// To be called in each step: otherwise the compiler spends a register on every bit.
  __device__ void keep_packed() { asm volatile("" : "+r"(inputs), "+r"(outputs)); }
};

/// Adds one run of rows to `sums`.
template <class T, int W>
__device__ void depthwise_wgrad_run(DepthwiseShape const& shape, DepthwiseRun const& run, DepthwisePlace const& place,
                                    T const* x, T const* dy, float (&sums)[9][W]) {
  constexpr int columns = depthwise_columns, inputs = depthwise_inputs;
  int const channels = static_cast<int>(shape.channels), column_pitch = shape.columns.dilation * channels;
  int const x_pitch = shape.columns.in * channels, dy_pitch = shape.columns.out * channels;
  std::int64_t const x_row = place.image * shape.rows.in, dy_row = place.image * shape.rows.out;
  T const* const from_x = x + x_row * x_pitch + std::int64_t{place.strip.input} * channels + place.channel;
  T const* const from_dy = dy + dy_row * dy_pitch + std::int64_t{place.strip.output} * channels + place.channel;

  PackedPixel<T, W> pixels[3][inputs], upstream[3][columns];
  // Of the outputs that a row's pixels reach; zero where there is none. A phase ends with two rows that open no output,
  // so that the next one finds zeros.
  float gradients[3][columns][W] = {};
  PhaseWalk walk(shape.rows, run.begin, run.end);
  StripMasks strip{place.strip.inputs, place.strip.outputs};
  auto const fetch = [&](int steps, int slot) {
    PhaseWalk::Later const later = walk.later(shape.rows, steps);
    if (!later.active) return;
    if (shape.rows.inside(later.input)) {
      T const* pixel = from_x + std::int64_t{later.input} * x_pitch;
#pragma unroll
      for (int i = 0; i < inputs; ++i) {
        if (strip.inputs >> i & 1u) pixels[slot][i].fetch(pixel);
        pixel += column_pitch;
      }
    }
    if (later.has_first) {
      T const* pixel = from_dy + std::int64_t{later.opens(shape.rows)} * dy_pitch;
#pragma unroll
      for (int i = 0; i < columns; ++i) {
        if (strip.outputs >> i & 1u) upstream[slot][i].fetch(pixel);
        pixel += column_pitch;
      }
    }
  };
#pragma unroll
  for (int i = 0; i < depthwise_ahead; ++i) fetch(i, i);
  while (walk.active()) {
#pragma unroll
    for (int phase = 0; phase < 3; ++phase) {
      if (!walk.active()) break;
      strip.keep_packed();
      fetch(depthwise_ahead, (phase + depthwise_ahead) % 3);
#pragma unroll
      for (int i = 0; i < columns; ++i) {
        if (walk.has_first() && (strip.outputs >> i & 1u) != 0) {
          upstream[phase][i].widen(gradients[phase][i]);
        } else {
#pragma unroll
          for (int e = 0; e < W; ++e) gradients[phase][i][e] = 0;
        }
      }
      if (shape.rows.inside(walk.input)) {
#pragma unroll
        for (int i = 0; i < inputs; ++i) {
          if (!(strip.inputs >> i & 1u)) continue;
          float pixel[W];
          pixels[phase][i].widen(pixel);
#pragma unroll
          for (int r = 0; r < 3; ++r) {
            auto const& row = gradients[(phase + 3 - r) % 3];
#pragma unroll
            for (int s = 0; s < 3; ++s) {
              if (i - s < 0 || i - s >= columns) continue;
#pragma unroll
              for (int e = 0; e < W; ++e) sums[3 * r + s][e] += pixel[e] * row[i - s][e];
            }
          }
        }
      }
      walk.advance(shape.rows);
    }
  }
}

/// Adds up `sums` over the threads of a block that have the same channels, and leaves them in partials(part, C, 3, 3),
/// whose rows are `pitch` apart. Every thread of the block calls it once.
template <int W>
__device__ void merge_windows(float (&sums)[9][W], int across, int chunk, std::int64_t part, std::int64_t channels,
                              std::int64_t pitch, float* partials) {
  __shared__ float shared[depthwise_wgrad_warps][9 * (W > 1 ? 64 : 32)];
  int const lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
#pragma unroll
  for (int tap = 0; tap < 9; ++tap) {
#pragma unroll
    for (int e = 0; e < W; ++e) {
      float sum = sums[tap][e];
      for (int apart = across; apart < 32; apart *= 2) sum += __shfl_xor_sync(0xffffffffu, sum, apart);
      if (lane < across) shared[warp][(lane * W + e) * 9 + tap] = sum;
    }
  }
  __syncthreads();
  int const count = across * W * 9;
  std::int64_t const first = std::int64_t{chunk} * count;
  for (int i = static_cast<int>(threadIdx.x); i < count; i += depthwise_wgrad_threads) {
    float sum = 0;
#pragma unroll
    for (int from = 0; from < depthwise_wgrad_warps; ++from) sum += shared[from][i];
    if (first + i < channels * 9) partials[part * pitch + first + i] = sum;
  }
}

template <class T, int W>
__global__ void __launch_bounds__(depthwise_wgrad_threads, 1)
    depthwise_wgrad_kernel(DepthwiseShape shape, std::int64_t pitch, T const* x, T const* dy, float* partials) {
  int const chunk = static_cast<int>(blockIdx.x % static_cast<unsigned>(shape.chunks));
  std::int64_t const lane = static_cast<int>(threadIdx.x) % shape.across;
  std::int64_t const channel = (std::int64_t{chunk} * shape.across + lane) * W;
  float sums[9][W] = {};
  for_each_run(shape, [&](DepthwiseRun const& run) {
    depthwise_wgrad_run<T, W>(shape, run, DepthwisePlace::of(shape, run.group, channel), x, dy, sums);
  });
  merge_windows(sums, shape.across, chunk, blockIdx.x / static_cast<unsigned>(shape.chunks), shape.channels, pitch,
                partials);
}

/// dw (C,3,3) from x (N, rows.in, columns.in, C) and dy (N, rows.out, columns.out, C).
template <class T>
void depthwise_walk_wgrad(Stream& stream, char const* name, std::int64_t images, std::int64_t channels,
                          DilatedAxis const& rows, DilatedAxis const& columns, T const* x, T const* dy, T* dw) {
  std::int64_t const pitch = partial_sums_pitch(9 * channels);
  auto const run = [&]<int W>(std::integral_constant<int, W>) {
    DepthwiseShape const shape =
        depthwise_shape<T, W>(stream, images, channels, rows, columns, depthwise_wgrad_threads);
    auto* const partials = static_cast<float*>(
        stream.scratch(static_cast<std::size_t>(shape.parts) * static_cast<std::size_t>(pitch) * sizeof(float)));
    launch(stream, name, grid_extent(name, std::int64_t{shape.parts} * shape.chunks), depthwise_wgrad_threads,
           depthwise_wgrad_kernel<T, W>, shape, pitch, x, dy, partials);
    merge_partial_sums(stream, name, shape.parts, 9 * channels, partials, dw);
  };
  if (channels % depthwise_channels<T> == 0) {
    run(std::integral_constant<int, depthwise_channels<T>>{});
  } else {
    run(std::integral_constant<int, 1>{});
  }
}

}  // namespace mixprec::inline MIXPREC_ABI::cuda::detail
