// SPDX-License-Identifier: Apache-2.0
// 3x3 convolutions of stride 1 with 16 or 32 channels on either side, and their input gradients. All weights fit into a
// few warps' registers, so that the inputs pass through each multiprocessor once and nothing else is read.
#pragma once

#include <cstddef>
#include <cstdint>

#include <mixprec/backend/cuda/dynamic_shared.cuh>
#include <mixprec/backend/cuda/narrow_rows.cuh>
#include <mixprec/backend/cuda/vector.cuh>
#include <mixprec/backend/cuda/warp_mma.cuh>
#include <mixprec/backend/geometry.hpp>
#include <mixprec/dtype/dtype.hpp>

namespace mixprec::inline MIXPREC_ABI::cuda::detail {

/// A walker goes down its strip of rows; each of its warps has 16 output channels. A row of the input adds to three
/// rows of the output, whose sums a warp holds.
template <class T, int In, int Out>
struct NarrowForward {
  static constexpr int warps = Out / 16;      // of a walker
  static constexpr int walkers = 12 / warps;  // of a block
  static constexpr int walker_threads = 32 * warps, threads = walkers * walker_threads;
  using Copy = RowCopy<T, In, narrow_window_columns, walker_threads>;
  static constexpr int slots = Out == 16 ? 8 : 16;
  static constexpr std::size_t weight_bytes = std::size_t{9} * In * Out * sizeof(T);
  static constexpr std::size_t ring_bytes = std::size_t{walkers} * slots * Copy::bytes;
  static constexpr std::size_t shared_bytes = weight_bytes + ring_bytes;
};

/// Column of a product that belongs to one of 16 channels: a lane then has four neighbouring channels of a pixel.
__device__ constexpr int column_of_channel(int channel) { return channel / 2 % 2 * 8 + channel / 4 * 2 + channel % 2; }

// `flipped`: the input gradient. The operand is dy, the weights' window is turned around, and their channels change
// places; so weights are (Out,3,3,In) where it is false, and (In,3,3,Out) where it is true.
template <class T, int In, int Out, bool flipped>
__device__ void stage_weights(T const* w, unsigned char* shared) {
  constexpr int threads = NarrowForward<T, In, Out>::threads;
  if constexpr (flipped) {
    constexpr int pairs = Out / 2;
    for (int i = static_cast<int>(threadIdx.x); i < In * 9 * pairs; i += threads) {
      int const channel = i % pairs * 2, tap = i / pairs % 9, in = i / pairs / 9;
      int const column = channel / 16 * 16 + column_of_channel(channel % 16);
      unsigned char* const to = shared + (8 - tap) * In * Out * 2 + swizzled<Out / 8>(in, column / 8) + column % 8 * 2;
      *reinterpret_cast<Vector<T, 2>*>(to) = load<2>(w + i * 2);
    }
  } else {
    constexpr int chunks = In / 8;
    for (int i = static_cast<int>(threadIdx.x); i < Out * 9 * chunks; i += threads) {
      int const chunk = i % chunks, tap = i / chunks % 9, channel = i / chunks / 9;
      int const column = channel / 16 * 16 + column_of_channel(channel % 16);
      unsigned char* const to = shared + tap * In * Out * 2 + swizzled<chunks>(column, chunk);
      *reinterpret_cast<Vector<T, 8>*>(to) = load<8>(w + i * 8);
    }
  }
}

template <class T, int In, int Out, bool flipped>
__global__ void __launch_bounds__(NarrowForward<T, In, Out>::threads, 1)
    narrow_forward_kernel(NarrowShape shape, T const* x, T const* w, T* y) {
  using Plan = NarrowForward<T, In, Out>;
  constexpr int slots = Plan::slots, tiles = In / 16;
  constexpr std::uint32_t slot_bytes = Plan::Copy::bytes, last_slot = (slots - 1) * slot_bytes;
  int const walker = static_cast<int>(threadIdx.x) / Plan::walker_threads;
  int const thread = static_cast<int>(threadIdx.x) % Plan::walker_threads, lane = thread % 32, warp = thread / 32;

  int const index = static_cast<int>(blockIdx.x) * Plan::walkers + walker;
  int const strip = index % shape.strips, range = index / shape.strips;
  std::int64_t const rows = std::int64_t{shape.images} * shape.p;
  bool const busy = range < shape.ranges;
  int const begin = busy ? static_cast<int>(rows * range / shape.ranges) : 0;
  int const end = busy ? static_cast<int>(rows * (range + 1) / shape.ranges) : 0;

  auto* const shared = dynamic_shared<unsigned char>();
  SharedAddress const weights = shared_address(shared);
  SharedAddress const ring =
      weights + static_cast<SharedAddress>(Plan::weight_bytes + walker * slots * Plan::Copy::bytes);
  int const first_column = strip * narrow_columns;
  typename Plan::Copy const copy(thread, ring, x, first_column - shape.padding, shape.w);
  RowWalk ahead(begin, end, shape.p);
  auto const start_copies = [&](std::uint32_t offset) {
    int const h = ahead.row + 2 - shape.padding;
    copy.start(offset, ahead.image * shape.h + h, ahead.left > 0 && h >= 0 && h < shape.h);
    ahead.advance(shape.p);
    commit_copies();
  };
  for (std::uint32_t to = 0; to < last_slot; to += slot_bytes) start_copies(to);

  stage_weights<T, In, Out, flipped>(w, shared);
  __syncthreads();
  std::uint32_t factors[9][tiles][4];  // the last: two halves of the input channels for each of two column tiles
#pragma unroll
  for (int tap = 0; tap < 9; ++tap) {
#pragma unroll
    for (int tile = 0; tile < tiles; ++tile) {
      SharedAddress const matrix = weights + static_cast<SharedAddress>(tap * In * Out * 2);
      if constexpr (flipped) {
        load_matrices_transposed(factors[tap][tile],
                                 matrix + swizzled<Out / 8>(16 * tile + lane % 16, 2 * warp + lane / 16));
      } else {
        int const row = lane % 8 + lane / 16 * 8, half = lane / 8 % 2;
        load_matrices(factors[tap][tile], matrix + swizzled<In / 8>(16 * warp + row, 2 * tile + half));
      }
    }
  }

  std::uint32_t from[3];
#pragma unroll
  for (int s = 0; s < 3; ++s) from[s] = swizzled<Plan::Copy::chunks>(lane % 16 + s, lane / 16);
  float sums[3][2][4];
  RowWalk walk(begin, end, shape.p);
  int const column = first_column + lane / 4;
  T* const strip_y = y + column * Out + 16 * warp + 4 * (lane % 4);
  std::uint32_t slot = 0, behind = last_slot;  // offsets of the row at hand, and of the row before
  while (walk.left > 0) {
#pragma unroll
    for (int phase = 0; phase < 3; ++phase) {
      if (walk.left <= 0) break;
      wait_copies<slots - 2>();
      named_barrier(1 + walker, Plan::walker_threads);
      start_copies(behind);
      SharedAddress const at = ring + slot;
      // This row of x is the first one under output row walk.row + 2, and the last one under walk.row.
#pragma unroll
      for (int j = 0; j < 2; ++j) {
#pragma unroll
        for (int i = 0; i < 4; ++i) sums[phase][j][i] = 0;
      }
#pragma unroll
      for (int s = 0; s < 3; ++s) {
#pragma unroll
        for (int tile = 0; tile < tiles; ++tile) {
          std::uint32_t pixels[4];
          load_matrices(pixels, at + (from[s] ^ static_cast<std::uint32_t>(32 * tile)));
#pragma unroll
          for (int r = 0; r < 3; ++r) {
#pragma unroll
            for (int j = 0; j < 2; ++j) {
              std::uint32_t const* const factor = factors[3 * r + s][tile] + 2 * j;
              multiply_add<T>(sums[(phase + 3 - r) % 3][j], pixels, factor[0], factor[1]);
            }
          }
        }
      }
      if (walk.owned()) {
        auto const& done = sums[(phase + 1) % 3];
        T* const to = strip_y + std::int64_t{walk.image * shape.p + walk.row} * (shape.q * Out);
#pragma unroll
        for (int lower = 0; lower < 2; ++lower) {
          if (column + 8 * lower >= shape.q) break;
          Vector<T, 4> values;
#pragma unroll
          for (int i = 0; i < 4; ++i) values.element[i] = convert<T>(done[i / 2][2 * lower + i % 2]);
          store(to + 8 * lower * Out, values);
        }
      }
      walk.advance(shape.p);
      behind = slot;
      slot = slot == last_slot ? 0 : slot + slot_bytes;
    }
  }
}

template <class T, int In, int Out, bool flipped>
void launch_narrow_forward(Stream& stream, char const* name, NarrowShape const& shape, T const* x, T const* w, T* y) {
  using Plan = NarrowForward<T, In, Out>;
  launch_with_memory(stream, name, grid_extent(name, narrow_blocks(shape, Plan::walkers)), Plan::threads,
                     Plan::shared_bytes, narrow_forward_kernel<T, In, Out, flipped>, shape, x, w, y);
}

/// y(N,P,Q,K) of a convolution of stride 1 without a bias; C and K are g's.
/// Precision: products of T, sums in float, one rounding.
template <class T, int C, int K>
void narrow_forward(Stream& stream, ConvGeometry const& g, T const* x, T const* w, T* y) {
  NarrowShape const shape = narrow_shape(stream, g.n, g.h, g.w, g.p, g.q, g.padding, NarrowForward<T, C, K>::walkers);
  launch_narrow_forward<T, C, K, false>(stream, "narrow_forward", shape, x, w, y);
}

/// dx(N,H,W,C), as narrow_forward: a convolution of dy. Needs a padding of at most 2.
template <class T, int C, int K>
void narrow_dgrad(Stream& stream, ConvGeometry const& g, T const* dy, T const* w, T* dx) {
  NarrowShape const shape =
      narrow_shape(stream, g.n, g.p, g.q, g.h, g.w, 2 - g.padding, NarrowForward<T, K, C>::walkers);
  launch_narrow_forward<T, K, C, true>(stream, "narrow_dgrad", shape, dy, w, dx);
}

}  // namespace mixprec::inline MIXPREC_ABI::cuda::detail
