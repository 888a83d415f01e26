// SPDX-License-Identifier: Apache-2.0
// Depthwise 3x3 convolutions of stride 1 and their input gradients. A thread goes down a strip of columns, adds each
// pixel to the three rows of outputs above and below it, and so reads every row once.
#pragma once

#include <cstdint>
#include <type_traits>

#include <mixprec/backend/cuda/depthwise_walk.cuh>

namespace mixprec::inline MIXPREC_ABI::cuda::detail {

inline constexpr int depthwise_forward_threads = 384;  // one block a multiprocessor: the sums need many registers

/// One run of rows; `windows` are those of the thread's channels.
template <class T, int W>
__device__ void depthwise_forward_run(DepthwiseShape const& shape, DepthwiseRun const& run, DepthwisePlace const& place,
                                      T const* x, float const (&windows)[9][W], T const* bias, T* y) {
  constexpr int columns = depthwise_columns, inputs = depthwise_inputs;
  int const channels = static_cast<int>(shape.channels), column_pitch = shape.columns.dilation * channels;
  int const x_pitch = shape.columns.in * channels, y_pitch = shape.columns.out * channels;
  std::int64_t const x_row = place.image * shape.rows.in, y_row = place.image * shape.rows.out;
  T const* const from = x + x_row * x_pitch + std::int64_t{place.strip.input} * channels + place.channel;
  T* const to = y + y_row * y_pitch + std::int64_t{place.strip.output} * channels + place.channel;

  PackedPixel<T, W> pixels[3][inputs];
  float sums[3][columns][W];
  auto const clear = [&](int slot) {
#pragma unroll
    for (int i = 0; i < columns; ++i) {
#pragma unroll
      for (int e = 0; e < W; ++e) sums[slot][i][e] = 0;
    }
  };
  PhaseWalk walk(shape.rows, run.begin, run.end);
  DepthwiseStrip const& strip = place.strip;
  auto const fetch = [&](int steps, int slot) {
    PhaseWalk::Later const later = walk.later(shape.rows, steps);
    if (!later.active || !shape.rows.inside(later.input)) return;
    T const* pixel = from + std::int64_t{later.input} * x_pitch;
#pragma unroll
    for (int i = 0; i < inputs; ++i) {
      if (strip.inputs >> i & 1u) pixels[slot][i].fetch(pixel);
      pixel += column_pitch;
    }
  };
  // A phase begins with a set that is clear. What is in the two others goes to outputs before the first one, which are
  // not stored, until each is cleared in its turn.
#pragma unroll
  for (int slot = 0; slot < 3; ++slot) clear(slot);
#pragma unroll
  for (int i = 0; i < depthwise_ahead; ++i) fetch(i, i);
  while (walk.active()) {
#pragma unroll
    for (int phase = 0; phase < 3; ++phase) {
      if (!walk.active()) break;
      fetch(depthwise_ahead, (phase + depthwise_ahead) % 3);
      if (shape.rows.inside(walk.input)) {
#pragma unroll
        for (int i = 0; i < inputs; ++i) {
          if (!(strip.inputs >> i & 1u)) continue;
          float pixel[W];
          pixels[phase][i].widen(pixel);
#pragma unroll
          for (int r = 0; r < 3; ++r) {
            auto& row = sums[(phase + 3 - r) % 3];
#pragma unroll
            for (int s = 0; s < 3; ++s) {
              if (i - s < 0 || i - s >= columns) continue;
#pragma unroll
              for (int e = 0; e < W; ++e) row[i - s][e] += pixel[e] * windows[3 * r + s][e];
            }
          }
        }
      }
      int const complete = (phase + 1) % 3;
      if (walk.has_last()) {
        if (bias != nullptr) {
          float offsets[W];  // read again for each row: registers are scarcer
          widen_vector(load<W>(bias + place.channel), offsets);
#pragma unroll
          for (int i = 0; i < columns; ++i) {
#pragma unroll
            for (int e = 0; e < W; ++e) sums[complete][i][e] += offsets[e];
          }
        }
        T* pixel = to + std::int64_t{walk.closes(shape.rows)} * y_pitch;
#pragma unroll
        for (int i = 0; i < columns; ++i) {
          PackedPixel<T, W> rounded;
          rounded.round(sums[complete][i]);
          if (strip.outputs >> i & 1u) rounded.store(pixel);
          pixel += column_pitch;
        }
      }
      clear(complete);
      walk.advance(shape.rows);
    }
  }
}

// `Flipped`: the input gradient, whose operand is dy and whose axes are DilatedAxis::gradient_of.
template <class T, int W, bool Flipped>
__global__ void __launch_bounds__(depthwise_forward_threads, 1)
    depthwise_forward_kernel(DepthwiseShape shape, T const* x, T const* w, T const* bias, T* y) {
  std::int64_t const lane = static_cast<int>(threadIdx.x) % shape.across;
  std::int64_t const channel = (blockIdx.x % static_cast<unsigned>(shape.chunks) * shape.across + lane) * W;
  if (channel >= shape.channels) return;
  float windows[9][W];
  load_windows<W, Flipped>(w, channel, windows);
  for_each_run(shape, [&](DepthwiseRun const& run) {
    depthwise_forward_run<T, W>(shape, run, DepthwisePlace::of(shape, run.group, channel), x, windows, bias, y);
  });
}

/// The result (N, rows.out, columns.out, C) from x (N, rows.in, columns.in, C), w (C,3,3) and bias (C) or nullptr.
template <class T, bool Flipped>
void depthwise_walk_forward(Stream& stream, char const* name, std::int64_t images, std::int64_t channels,
                            DilatedAxis const& rows, DilatedAxis const& columns, T const* x, T const* w, T const* bias,
                            T* y) {
  constexpr int threads = depthwise_forward_threads;
  auto const run = [&]<int W>(std::integral_constant<int, W>) {
    DepthwiseShape const shape = depthwise_shape<T, W>(stream, images, channels, rows, columns, threads);
    launch(stream, name, grid_extent(name, std::int64_t{shape.parts} * shape.chunks), threads,
           depthwise_forward_kernel<T, W, Flipped>, shape, x, w, bias, y);
  };
  if (channels % depthwise_channels<T> == 0) {
    run(std::integral_constant<int, depthwise_channels<T>>{});
  } else {
    run(std::integral_constant<int, 1>{});
  }
}

}  // namespace mixprec::inline MIXPREC_ABI::cuda::detail
