// SPDX-License-Identifier: Apache-2.0
// Depthwise 3x3 convolutions of any stride: a thread looks up every pixel of its window. They serve strides above 1,
// and extents that the kernels of stride 1 do not count.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include <mixprec/backend/cuda/depthwise_wgrad.cuh>

namespace mixprec::inline MIXPREC_ABI::cuda::detail {

/// The input under tap `tap` of output `output` of an axis, or the output whose tap lies on an input; `in` is the
/// extent of what is looked up. Negative where there is none.
template <bool Gradient>
__device__ std::int64_t depthwise_source(ConvGeometry const& g, std::int64_t at, int tap, std::int64_t in) {
  if constexpr (Gradient) {
    std::int64_t const from = at + g.padding - std::int64_t{tap} * g.dilation;
    return from >= 0 && from % g.stride == 0 && from / g.stride < in ? from / g.stride : -1;
  } else {
    std::int64_t const from = at * g.stride - g.padding + std::int64_t{tap} * g.dilation;
    return from >= 0 && from < in ? from : -1;
  }
}

// One thread W channels of a pixel of the result: y from x, or where `Gradient` dx from dy.
template <class T, int W, bool Gradient>
__global__ void depthwise_strided_kernel(ConvGeometry g, T const* from, T const* w, T const* bias, T* to) {
  std::int64_t const rows = Gradient ? g.h : g.p, columns = Gradient ? g.w : g.q;
  std::int64_t const from_rows = Gradient ? g.p : g.h, from_columns = Gradient ? g.q : g.w;
  std::int64_t const i = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i >= g.n * rows * columns * (g.c / W)) return;
  Split const by_pixel = split(i, g.c / W), by_row = split(by_pixel.quotient, columns);
  Split const by_image = split(by_row.quotient, rows);
  std::int64_t const channel = by_pixel.remainder * W;
  float windows[9][W], sums[W] = {};
  load_windows<W, false>(w, channel, windows);
#pragma unroll
  for (int r = 0; r < 3; ++r) {
    std::int64_t const row = depthwise_source<Gradient>(g, by_image.remainder, r, from_rows);
    if (row < 0) continue;
#pragma unroll
    for (int s = 0; s < 3; ++s) {
      std::int64_t const column = depthwise_source<Gradient>(g, by_row.remainder, s, from_columns);
      if (column < 0) continue;
      float pixel[W];
      widen_vector(load<W>(from + ((by_image.quotient * from_rows + row) * from_columns + column) * g.c + channel),
                   pixel);
#pragma unroll
      for (int e = 0; e < W; ++e) sums[e] += pixel[e] * windows[3 * r + s][e];
    }
  }
  float offsets[W] = {};
  if (bias != nullptr) widen_vector(load<W>(bias + channel), offsets);
  Vector<T, W> rounded;
#pragma unroll
  for (int e = 0; e < W; ++e) rounded.element[e] = convert<T>(sums[e] + offsets[e]);
  store(to + by_pixel.quotient * g.c + channel, rounded);
}

/// y from x (g.n, g.h, g.w, C), or where `Gradient` dx from dy (g.n, g.p, g.q, C).
template <class T, bool Gradient>
void depthwise_strided(Stream& stream, char const* name, ConvGeometry const& g, T const* from, T const* w,
                       T const* bias, T* to) {
  std::int64_t const elements = Gradient ? g.inputs() : g.outputs();
  bool const whole = g.c % depthwise_channels<T> == 0;
  FlatGrid const grid = flat_grid(stream, name, whole ? elements / depthwise_channels<T> : elements);
  launch(
      stream, name, grid.blocks, grid.threads,
      whole ? depthwise_strided_kernel<T, depthwise_channels<T>, Gradient> : depthwise_strided_kernel<T, 1, Gradient>,
      g, from, w, bias, to);
}

// A block's walkers take the pixels of dy in its part of them in turns.
template <class T, int W>
__global__ void __launch_bounds__(depthwise_wgrad_threads, 1)
    depthwise_strided_wgrad_kernel(ConvGeometry g, int across, int chunks, std::int64_t parts, std::int64_t pitch,
                                   T const* x, T const* dy, float* partials) {
  int const chunk = static_cast<int>(blockIdx.x % static_cast<unsigned>(chunks));
  std::int64_t const part = blockIdx.x / static_cast<unsigned>(chunks), pixels = g.n * g.p * g.q;
  std::int64_t const channel = (std::int64_t{chunk} * across + static_cast<int>(threadIdx.x) % across) * W;
  std::int64_t const end = channel < g.c ? pixels * (part + 1) / parts : 0;
  float sums[9][W] = {};
  for (std::int64_t at = pixels * part / parts + static_cast<int>(threadIdx.x) / across; at < end;
       at += depthwise_wgrad_threads / across) {
    Split const by_row = split(at, g.q), by_image = split(by_row.quotient, g.p);
    float gradient[W], pixel[W];
    widen_vector(load<W>(dy + at * g.c + channel), gradient);
#pragma unroll
    for (int r = 0; r < 3; ++r) {
      std::int64_t const row = depthwise_source<false>(g, by_image.remainder, r, g.h);
      if (row < 0) continue;
#pragma unroll
      for (int s = 0; s < 3; ++s) {
        std::int64_t const column = depthwise_source<false>(g, by_row.remainder, s, g.w);
        if (column < 0) continue;
        widen_vector(load<W>(x + ((by_image.quotient * g.h + row) * g.w + column) * g.c + channel), pixel);
#pragma unroll
        for (int e = 0; e < W; ++e) sums[3 * r + s][e] += pixel[e] * gradient[e];
      }
    }
  }
  merge_windows(sums, across, chunk, part, g.c, pitch, partials);
}

/// dw from x and dy.
template <class T>
void depthwise_strided_wgrad(Stream& stream, char const* name, ConvGeometry const& g, T const* x, T const* dy, T* dw) {
  std::int64_t const pitch = partial_sums_pitch(9 * g.c);
  auto const run = [&]<int W>(std::integral_constant<int, W>) {
    DepthwiseLanes const lanes = depthwise_lanes<T, W>(g.c);
    std::int64_t const most = divide_up(g.n * g.p * g.q, depthwise_wgrad_threads / lanes.across);
    std::int64_t const parts = std::clamp<std::int64_t>(stream.multiprocessors() / lanes.chunks, 1, most);
    auto* const partials = static_cast<float*>(
        stream.scratch(static_cast<std::size_t>(parts) * static_cast<std::size_t>(pitch) * sizeof(float)));
    launch(stream, name, grid_extent(name, parts * lanes.chunks), depthwise_wgrad_threads,
           depthwise_strided_wgrad_kernel<T, W>, g, lanes.across, static_cast<int>(lanes.chunks), parts, pitch, x, dy,
           partials);
    merge_partial_sums(stream, name, parts, 9 * g.c, partials, dw);
  };
  if (g.c % depthwise_channels<T> == 0) {
    run(std::integral_constant<int, depthwise_channels<T>>{});
  } else {
    run(std::integral_constant<int, 1>{});
  }
}

}  // namespace mixprec::inline MIXPREC_ABI::cuda::detail
