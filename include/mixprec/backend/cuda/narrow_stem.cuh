// SPDX-License-Identifier: Apache-2.0
// The first convolution of an image network: so few input channels that a window has at most 48 elements. Its time is
// that of reading dy or writing y once, since the sums go to the tensor cores with the window as their short dimension.
#pragma once

#include <algorithm>  // std::min, std::max
#include <cstddef>
#include <cstdint>

#include <mixprec/backend/cuda/dynamic_shared.cuh>
#include <mixprec/backend/cuda/launch.cuh>
#include <mixprec/backend/cuda/partial_sums.cuh>
#include <mixprec/backend/cuda/stream.hpp>
#include <mixprec/backend/cuda/vector.cuh>
#include <mixprec/backend/cuda/warp_mma.cuh>
#include <mixprec/backend/geometry.hpp>
#include <mixprec/dtype/dtype.hpp>

namespace mixprec::inline MIXPREC_ABI::cuda::detail {

inline constexpr int stem_threads = 256, stem_warps = stem_threads / 32;
inline constexpr int stem_pixels = 16;          // a group, which a warp takes at once
inline constexpr int stem_strip_pixels = 2048;  // most pixels of a strip
inline constexpr int stem_strip_bytes = 32768;  // most bytes of a strip of x
inline constexpr int stem_window = 48;          // most elements of a window

/// A block takes a strip of output rows and holds the part of x under it in shared memory, with its padding.
struct StemShape {
  int h, w, c, p, q;
  int kernel_w, window;  // window: elements under one output pixel
  int stride, padding;
  int rows, strips;           // output rows of a strip, strips of an image
  int tile_rows, tile_pitch;  // of x in shared memory; the pitch in elements

  constexpr MIXPREC_HD int groups() const { return (rows * q + stem_pixels - 1) / stem_pixels; }
  constexpr MIXPREC_HD int offset_bytes() const { return groups() * stem_pixels * 4; }
  constexpr MIXPREC_HD int tile_bytes() const { return tile_rows * tile_pitch * 2; }
  constexpr MIXPREC_HD std::size_t shared_bytes() const {
    return static_cast<std::size_t>(offset_bytes() + tile_bytes());
  }
};

constexpr StemShape stem_shape(ConvGeometry const& g, std::int64_t rows) {
  auto const small = [](std::int64_t value) { return static_cast<int>(value); };
  return {small(g.h),
          small(g.w),
          small(g.c),
          small(g.p),
          small(g.q),
          small(g.s),
          small(g.r * g.s * g.c),
          g.stride,
          g.padding,
          small(rows),
          small(divide_up(g.p, rows)),
          small((rows - 1) * g.stride + g.r),
          small(((g.q - 1) * g.stride + g.s) * g.c)};
}

/// Whether one row of the convolution fits into a strip.
constexpr bool stem_fits(ConvGeometry const& g) {
  return g.r * g.s * g.c <= stem_window && g.q <= stem_strip_pixels &&
         g.r * ((g.q - 1) * g.stride + g.s) * g.c * 2 <= stem_strip_bytes;
}

/// Halves the strips until there are `wanted` of them, or a warp would have too little to do.
inline StemShape stem_strips(ConvGeometry const& g, std::int64_t wanted) {
  std::int64_t rows = g.p;
  auto const too_large = [&] {
    return rows * g.q > stem_strip_pixels || stem_shape(g, rows).tile_bytes() > stem_strip_bytes;
  };
  auto const too_few = [&] {
    return g.n * divide_up(g.p, rows) < wanted && rows * g.q >= 2 * stem_pixels * stem_warps;
  };
  while (rows > 1 && (too_large() || too_few())) rows = divide_up(rows, 2);
  return stem_shape(g, rows);
}

/// Where each pixel's window starts in the tile; the same for every strip.
__device__ inline void stem_offsets(StemShape const& shape, int* offsets) {
  for (int i = static_cast<int>(threadIdx.x); i < shape.groups() * stem_pixels; i += stem_threads) {
    int const row = i / shape.q, column = i - row * shape.q;
    offsets[i] = row < shape.rows ? row * shape.stride * shape.tile_pitch + column * shape.stride * shape.c : 0;
  }
}

/// The part of x under a strip; the elements are only moved, so they stay bits.
__device__ inline void stem_tile(StemShape const& shape, int image, int first_row, std::uint16_t const* x,
                                 std::uint16_t* tile) {
  int const first_h = first_row * shape.stride - shape.padding, row_elements = shape.w * shape.c;
  std::uint16_t const* const from = x + std::int64_t{image} * shape.h * row_elements;
#pragma unroll 4
  for (int i = static_cast<int>(threadIdx.x); i < shape.tile_rows * shape.tile_pitch; i += stem_threads) {
    int const row = i / shape.tile_pitch, h = first_h + row;
    int const at = i - row * shape.tile_pitch - shape.padding * shape.c;
    bool const inside = h >= 0 && h < shape.h && at >= 0 && at < row_elements;
    tile[i] = inside ? from[std::int64_t{h} * row_elements + at] : std::uint16_t{0};
  }
}

/// Offset of a window's element in the tile; that of the first one behind the end.
__device__ inline int window_offset(StemShape const& shape, int element) {
  int const row_elements = shape.kernel_w * shape.c;
  return element < shape.window ? element / row_elements * shape.tile_pitch + element % row_elements : 0;
}

__device__ inline std::uint32_t pair_of(std::uint16_t low, std::uint16_t high) {
  return low | static_cast<std::uint32_t>(high) << 16;
}

// y = windows(pixels, window) · weights(window, K), in steps of 16 window elements. Columns of the product are dealt
// out so that the four lanes of a pixel have neighbouring channels each, and store them at once.
template <class T, int K, int Steps>
__global__ void __launch_bounds__(stem_threads) stem_forward_kernel(StemShape shape, T const* x, T const* w, T* y) {
  constexpr int unit = K % 32 == 0 ? 32 : 16, width = unit / 4, units = K / unit;
  auto* const offsets = dynamic_shared<int>();
  auto* const tile = dynamic_shared<std::uint16_t>() + shape.offset_bytes() / 2;
  auto const* const weights = reinterpret_cast<std::uint16_t const*>(w);
  int const lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  int const g = lane / 4, t = lane % 4;
  int const image = static_cast<int>(blockIdx.x) / shape.strips;
  int const first_row = static_cast<int>(blockIdx.x) % shape.strips * shape.rows;
  stem_offsets(shape, offsets);
  stem_tile(shape, image, first_row, reinterpret_cast<std::uint16_t const*>(x), tile);

  int taps[Steps][4];
  std::uint32_t masks[Steps][2], factors[Steps][K / 8][2];
#pragma unroll
  for (int step = 0; step < Steps; ++step) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      int const element = 16 * step + 8 * half + 2 * t;
      bool const low = element < shape.window, high = element + 1 < shape.window;
      taps[step][2 * half] = window_offset(shape, element);
      taps[step][2 * half + 1] = window_offset(shape, element + 1);
      masks[step][half] = (low ? 0xffffu : 0u) | (high ? 0xffff0000u : 0u);
#pragma unroll
      for (int j = 0; j < K / 8; ++j) {
        int const channel = j / (unit / 8) * unit + g / 2 * width + j % (unit / 8) * 2 + g % 2;
        std::uint16_t const* const from = weights + channel * shape.window + element;
        factors[step][j][half] = pair_of(low ? from[0] : std::uint16_t{0}, high ? from[1] : std::uint16_t{0});
      }
    }
  }
  __syncthreads();

  int const left = shape.p - first_row, pixels = (left < shape.rows ? left : shape.rows) * shape.q;
  T* const strip = y + (std::int64_t{image} * shape.p + first_row) * shape.q * K;
  for (int first = warp * stem_pixels; first < pixels; first += stem_warps * stem_pixels) {
    std::uint16_t const *const upper = tile + offsets[first + g], *const lower = tile + offsets[first + g + 8];
    float sums[K / 8][4] = {};
#pragma unroll
    for (int step = 0; step < Steps; ++step) {
      auto const window = [&](std::uint16_t const* from, int half) {
        return pair_of(from[taps[step][2 * half]], from[taps[step][2 * half + 1]]) & masks[step][half];
      };
      std::uint32_t const rows[4] = {window(upper, 0), window(lower, 0), window(upper, 1), window(lower, 1)};
#pragma unroll
      for (int j = 0; j < K / 8; ++j) multiply_add<T>(sums[j], rows, factors[step][j][0], factors[step][j][1]);
    }
#pragma unroll
    for (int lower_half = 0; lower_half < 2; ++lower_half) {
      int const pixel = first + g + 8 * lower_half;
      if (pixel >= pixels) break;
#pragma unroll
      for (int u = 0; u < units; ++u) {
        Vector<T, width> values;
#pragma unroll
        for (int i = 0; i < width; ++i) {
          values.element[i] = convert<T>(sums[u * (unit / 8) + i / 2][2 * lower_half + i % 2]);
        }
        store(strip + std::int64_t{pixel} * K + u * unit + t * width, values);
      }
    }
  }
}

/// Fragments of 16 window elements, groups that a warp loads at once, and blocks on a multiprocessor.
template <int K, int Tiles>
struct StemWgrad {
  static constexpr int width = K / 8;  // neighbouring channels of a lane
  static constexpr int unroll = K <= 32 ? 4 : 2;
  static constexpr int blocks = K * Tiles <= 32 ? 3 : K * Tiles <= 128 ? 2 : 1;
  static constexpr std::size_t merge_bytes = std::size_t{stem_warps} * Tiles * 16 * K * sizeof(float);
};

// dw = transposed windows(window, pixels) · dy(pixels, K). A lane reads neighbouring channels of four pixels; which
// pixel and which channel stand where in a product is ours to choose, as long as both operands agree.
template <class T, int K, int Tiles>
__global__ void __launch_bounds__(stem_threads, StemWgrad<K, Tiles>::blocks)
    stem_wgrad_kernel(StemShape shape, int images, T const* x, T const* dy, float* partials) {
  using Plan = StemWgrad<K, Tiles>;
  constexpr int width = Plan::width, unroll = Plan::unroll;
  auto* const offsets = dynamic_shared<int>();
  auto* const tile = dynamic_shared<std::uint16_t>() + shape.offset_bytes() / 2;
  int const lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  int const g = lane / 4, t = lane % 4;
  int taps[Tiles][2];
#pragma unroll
  for (int i = 0; i < Tiles; ++i) {
    taps[i][0] = window_offset(shape, 16 * i + g);
    taps[i][1] = window_offset(shape, 16 * i + 8 + g);
  }
  stem_offsets(shape, offsets);

  float sums[Tiles][width][4] = {};
  for (int index = static_cast<int>(blockIdx.x); index < images * shape.strips; index += static_cast<int>(gridDim.x)) {
    int const image = index / shape.strips, first_row = index % shape.strips * shape.rows;
    __syncthreads();
    stem_tile(shape, image, first_row, reinterpret_cast<std::uint16_t const*>(x), tile);
    __syncthreads();
    int const left = shape.p - first_row, pixels = (left < shape.rows ? left : shape.rows) * shape.q;
    T const* const strip = dy + (std::int64_t{image} * shape.p + first_row) * shape.q * K;
    for (int first = warp * stem_pixels; first < pixels; first += stem_warps * stem_pixels * unroll) {
      Vector<std::uint16_t, width> gradients[unroll][4];
#pragma unroll
      for (int u = 0; u < unroll; ++u) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          int const pixel = first + u * stem_warps * stem_pixels + 4 * t + i;
          gradients[u][i] = {};
          if (pixel < pixels) {
            gradients[u][i] = load<width>(reinterpret_cast<std::uint16_t const*>(strip) + pixel * K + g * width);
          }
        }
      }
#pragma unroll
      for (int u = 0; u < unroll; ++u) {
        int const group = first + u * stem_warps * stem_pixels;
        if (group >= pixels) break;
        auto const [at] = load<4>(offsets + group + 4 * t);
#pragma unroll
        for (int m = 0; m < Tiles; ++m) {
          auto const window = [&](int pair, int half) {
            return pair_of(tile[at[2 * pair] + taps[m][half]], tile[at[2 * pair + 1] + taps[m][half]]);
          };
          std::uint32_t const rows[4] = {window(0, 0), window(0, 1), window(1, 0), window(1, 1)};
#pragma unroll
          for (int j = 0; j < width; ++j) {
            auto const pair = [&](int i) {
              return pair_of(gradients[u][i].element[j], gradients[u][i + 1].element[j]);
            };
            multiply_add<T>(sums[m][j], rows, pair(0), pair(2));
          }
        }
      }
    }
  }

  // The warps' sums meet in shared memory, and leave for global memory in dw's order.
  __syncthreads();
  float* const shared = dynamic_shared<float>();
#pragma unroll
  for (int m = 0; m < Tiles; ++m) {
#pragma unroll
    for (int j = 0; j < width; ++j) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        int const element = 16 * m + g + i / 2 * 8, channel = (2 * t + i % 2) * width + j;
        shared[(warp * Tiles * 16 + element) * K + channel] = sums[m][j][i];
      }
    }
  }
  __syncthreads();
  float* const to = partials + std::int64_t{blockIdx.x} * K * shape.window;
  for (int i = static_cast<int>(threadIdx.x); i < K * shape.window; i += stem_threads) {
    int const element = i % shape.window, channel = i / shape.window;
    float total = 0;
#pragma unroll
    for (int from = 0; from < stem_warps; ++from) total += shared[(from * Tiles * 16 + element) * K + channel];
    to[i] = total;
  }
}

/// y(N,P,Q,K), without a bias; K is g's, `Steps` sixteenths of a window. Needs stem_fits.
/// Precision: products of T, sums in float, one rounding.
template <class T, int K, int Steps>
void stem_forward(Stream& stream, ConvGeometry const& g, T const* x, T const* w, T* y) {
  StemShape const shape = stem_strips(g, std::int64_t{4} * stream.multiprocessors());
  launch_with_memory(stream, "stem_forward", grid_extent("stem_forward", g.n * shape.strips), stem_threads,
                     shape.shared_bytes(), stem_forward_kernel<T, K, Steps>, shape, x, w, y);
}

/// dw(K,R,S,C); as stem_forward. A value of x that is not finite may reach every element of the window.
template <class T, int K, int Tiles>
void stem_wgrad(Stream& stream, ConvGeometry const& g, T const* x, T const* dy, T* dw) {
  using Plan = StemWgrad<K, Tiles>;
  char const* const name = "stem_wgrad";
  std::int64_t const most = std::int64_t{Plan::blocks} * stream.multiprocessors();
  StemShape const shape = stem_strips(g, 4 * most);
  std::int64_t const blocks = std::min(most, g.n * shape.strips);
  auto* const partials =
      static_cast<float*>(stream.scratch(static_cast<std::size_t>(blocks * g.weights()) * sizeof(float)));
  launch_with_memory(stream, name, grid_extent(name, blocks), stem_threads,
                     std::max(shape.shared_bytes(), Plan::merge_bytes), stem_wgrad_kernel<T, K, Tiles>, shape, g.n, x,
                     dy, partials);
  merge_partial_sums(stream, name, blocks, g.weights(), partials, dw);
}

}  // namespace mixprec::inline MIXPREC_ABI::cuda::detail
