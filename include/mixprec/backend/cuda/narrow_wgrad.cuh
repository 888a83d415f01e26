// SPDX-License-Identifier: Apache-2.0
// Weight gradient of 3x3 convolutions with 16, 32 or 64 channels on either side. There the gradient of all nine taps
// fits into one block's registers, so that x and dy are read from memory once; library kernels read them several times.
#pragma once

#include <cstddef>
#include <cstdint>

#include <mixprec/backend/cuda/dynamic_shared.cuh>
#include <mixprec/backend/cuda/narrow_rows.cuh>
#include <mixprec/backend/cuda/partial_sums.cuh>
#include <mixprec/backend/cuda/vector.cuh>
#include <mixprec/backend/cuda/warp_mma.cuh>
#include <mixprec/backend/geometry.hpp>

namespace mixprec::inline MIXPREC_ABI::cuda::detail {

/// A walker goes down its strip of rows. Its warps share out the columns of the window and tiles of (k, c); a warp sums
/// the three rows of the window, because it can keep the fragments of the last three rows of x.
template <class T, int C, int K>
struct NarrowWgrad {
  static constexpr int tile_k = K < 32 ? K : 32, tile_c = C < 32 ? C : 32;  // of a warp
  static constexpr int warps = 3 * (K / tile_k) * (C / tile_c);             // of a walker
  static constexpr int walkers = warps == 3 ? 4 : 12 / warps;               // of a block
  static constexpr int walker_threads = 32 * warps, threads = walkers * walker_threads;

  using CopyX = RowCopy<T, C, narrow_window_columns, walker_threads>;
  using CopyDy = RowCopy<T, K, narrow_columns, walker_threads>;
  static constexpr int slot_bytes = CopyX::bytes + CopyDy::bytes;
  static constexpr int slots = 16;

  static constexpr int sums = 9 * K * C;
  static constexpr int pitch = C + 8;  // of a row of sums in shared memory: keeps a warp's accesses in different banks
  static constexpr std::size_t ring_bytes = std::size_t{walkers} * slots * slot_bytes;
  static constexpr std::size_t merge_bytes = std::size_t{walkers} * 9 * K * pitch * sizeof(float);
  static constexpr std::size_t shared_bytes = ring_bytes > merge_bytes ? ring_bytes : merge_bytes;
};

template <class T, int C, int K>
__global__ void __launch_bounds__(NarrowWgrad<T, C, K>::threads, 1)
    narrow_wgrad_kernel(NarrowShape shape, T const* x, T const* dy, float* partials) {
  using Plan = NarrowWgrad<T, C, K>;
  constexpr int tiles_k = Plan::tile_k / 16, tiles_c = Plan::tile_c / 16, slots = Plan::slots;
  constexpr std::uint32_t slot_bytes = Plan::slot_bytes, last_slot = (slots - 1) * slot_bytes;
  int const walker = static_cast<int>(threadIdx.x) / Plan::walker_threads;
  int const thread = static_cast<int>(threadIdx.x) % Plan::walker_threads, lane = thread % 32, warp = thread / 32;
  int const s = warp % 3, first_c = warp / 3 % (C / Plan::tile_c) * Plan::tile_c;
  int const first_k = warp / 3 / (C / Plan::tile_c) * Plan::tile_k;

  int const first_index = static_cast<int>(blockIdx.x) * Plan::walkers, index = first_index + walker;
  int const strip = index % shape.strips;
  auto const walk_of = [&](int of) {
    int const range = of / shape.strips;
    std::int64_t const rows = std::int64_t{shape.images} * shape.p;
    if (range >= shape.ranges) return RowWalk(0, 0, shape.p);
    return RowWalk(static_cast<int>(rows * range / shape.ranges), static_cast<int>(rows * (range + 1) / shape.ranges),
                   shape.p);
  };

  SharedAddress const ring =
      shared_address(dynamic_shared<unsigned char>()) + static_cast<SharedAddress>(walker * slots) * slot_bytes;
  int const first_column = strip * narrow_columns;
  typename Plan::CopyX const copy_x(thread, ring, x, first_column - shape.padding, shape.w);
  typename Plan::CopyDy const copy_dy(thread, ring + Plan::CopyX::bytes, dy, first_column, shape.q);
  RowWalk ahead = walk_of(index);
  auto const start_copies = [&](std::uint32_t offset) {
    int const h = ahead.row + 2 - shape.padding;
    bool const more = ahead.left > 0;
    copy_x.start(offset, ahead.image * shape.h + h, more && h >= 0 && h < shape.h);
    copy_dy.start(offset, ahead.image * shape.p + ahead.row, more && ahead.owned());
    ahead.advance(shape.p);
    commit_copies();
  };

  // The sum runs over pixels, which are rows in shared memory, so that both operands are loaded transposed.
  std::uint32_t from_x[tiles_c], from_dy[tiles_k];
#pragma unroll
  for (int i = 0; i < tiles_c; ++i) {
    from_x[i] = ring + swizzled<Plan::CopyX::chunks>(lane % 16 + s, first_c / 8 + 2 * i + lane / 16);
  }
#pragma unroll
  for (int i = 0; i < tiles_k; ++i) {
    int const pixel = lane % 8 + lane / 16 * 8, half = lane / 8 % 2;
    from_dy[i] = ring + Plan::CopyX::bytes + swizzled<Plan::CopyDy::chunks>(pixel, first_k / 8 + 2 * i + half);
  }

  float sums[3][tiles_k][2 * tiles_c][4] = {};
  std::uint32_t x_rows[3][tiles_c][4];
  RowWalk walk = walk_of(index);
  int const steps = walk.left;
  for (std::uint32_t to = 0; to < last_slot; to += slot_bytes) start_copies(to);
  std::uint32_t slot = 0, behind = last_slot;  // offsets of the row at hand, and of the row before
  while (walk.left > 0) {
#pragma unroll
    for (int phase = 0; phase < 3; ++phase) {
      if (walk.left <= 0) break;
      wait_copies<slots - 2>();
      named_barrier(1 + walker, Plan::walker_threads);
      start_copies(behind);
#pragma unroll
      for (int i = 0; i < tiles_c; ++i) load_matrices_transposed(x_rows[phase][i], from_x[i] + slot);
      if (walk.owned()) {
        std::uint32_t dy_row[tiles_k][4];
#pragma unroll
        for (int i = 0; i < tiles_k; ++i) load_matrices_transposed(dy_row[i], from_dy[i] + slot);
#pragma unroll
        for (int r = 0; r < 3; ++r) {
          auto const& x_row = x_rows[(phase + 1 + r) % 3];
#pragma unroll
          for (int i = 0; i < tiles_k; ++i) {
#pragma unroll
            for (int j = 0; j < 2 * tiles_c; ++j) {
              multiply_add<T>(sums[r][i][j], dy_row[i], x_row[j / 2][j % 2 * 2], x_row[j / 2][j % 2 * 2 + 1]);
            }
          }
        }
      }
      walk.advance(shape.p);
      behind = slot;
      slot = slot == last_slot ? 0 : slot + slot_bytes;
    }
  }

  // Walkers that are done early pass the others' barriers too: compute-sanitizer numbers a block's barriers whatever
  // their names, and would call the exchange below a race.
  int most = steps;
#pragma unroll
  for (int of = 0; of < Plan::walkers; ++of) {
    int const left = walk_of(first_index + of).left;
    most = left > most ? left : most;
  }
  for (int step = steps; step < most; ++step) named_barrier(1 + walker, Plan::walker_threads);

  // The walkers' sums meet in shared memory, and leave for global memory in dw's order.
  wait_copies<0>();
  __syncthreads();
  float* const shared = dynamic_shared<float>();
  float* const own = shared + walker * 9 * K * Plan::pitch;
#pragma unroll
  for (int r = 0; r < 3; ++r) {
#pragma unroll
    for (int i = 0; i < tiles_k; ++i) {
#pragma unroll
      for (int j = 0; j < 2 * tiles_c; ++j) {
        int const k = first_k + 16 * i + lane / 4, c = first_c + 8 * j + 2 * (lane % 4);
        float const(&sum)[4] = sums[r][i][j];
        store(own + (k * 9 + 3 * r + s) * Plan::pitch + c, Vector<float, 2>{{sum[0], sum[1]}});
        store(own + ((k + 8) * 9 + 3 * r + s) * Plan::pitch + c, Vector<float, 2>{{sum[2], sum[3]}});
      }
    }
  }
  __syncthreads();
  float* const to = partials + std::int64_t{blockIdx.x} * Plan::sums;
  for (int i = static_cast<int>(threadIdx.x) * 4; i < Plan::sums; i += Plan::threads * 4) {
    Vector<float, 4> total{};
#pragma unroll
    for (int from = 0; from < Plan::walkers; ++from) {
      Vector<float, 4> const part = load<4>(shared + (from * 9 * K + i / C) * Plan::pitch + i % C);
#pragma unroll
      for (int e = 0; e < 4; ++e) total.element[e] += part.element[e];
    }
    store(to + i, total);
  }
}

/// dw(K,3,3,C) of a convolution of stride 1; C and K are g's.
/// Precision: products of T, sums in float, one rounding. A value of x that is not finite may reach every tap of its
/// channel.
template <class T, int C, int K>
void narrow_wgrad(Stream& stream, ConvGeometry const& g, T const* x, T const* dy, T* dw) {
  using Plan = NarrowWgrad<T, C, K>;
  char const* const name = "narrow_wgrad";
  NarrowShape const shape = narrow_shape(stream, g.n, g.h, g.w, g.p, g.q, g.padding, Plan::walkers);
  std::int64_t const blocks = narrow_blocks(shape, Plan::walkers);
  auto* const partials =
      static_cast<float*>(stream.scratch(static_cast<std::size_t>(blocks) * Plan::sums * sizeof(float)));
  launch_with_memory(stream, name, grid_extent(name, blocks), Plan::threads, Plan::shared_bytes,
                     narrow_wgrad_kernel<T, C, K>, shape, x, dy, partials);
  merge_partial_sums(stream, name, blocks, Plan::sums, partials, dw);
}

}  // namespace mixprec::inline MIXPREC_ABI::cuda::detail
