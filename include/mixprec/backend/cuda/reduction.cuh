// SPDX-License-Identifier: Apache-2.0
// How blocks sum together in one launch and in a fixed order: warps by shuffles, a block through shared memory, and the
// block that finishes last merges what the others left in scratch memory.
#pragma once

#include <mixprec/backend/cuda/launch.cuh>
#include <mixprec/backend/cuda/vector.cuh>

namespace mixprec::inline MIXPREC_ABI::cuda::detail {

/// Counters of finished blocks, one object a Stream. A kernel finds them zero and leaves them zero, so that they need
/// no launch of their own and a captured graph can be replayed. Errors: Error where the first use falls into a capture.
class Counters {
 public:
  static constexpr int count = 1024;
  explicit Counters(Stream& stream) {
    if (stream.capturing()) {
      throw Error(
          "cuda: the counters of reductions are made by the first reduction, and this one is inside a CUDA graph's "
          "capture. Run one eager step of the same shapes first.");
    }
    buffer_ = DeviceBuffer(count * sizeof(std::uint32_t));
    check(cudaMemsetAsync(buffer_.data(), 0, buffer_.bytes(), stream.handle()), "cudaMemsetAsync");
  }
  std::uint32_t* data() const { return static_cast<std::uint32_t*>(buffer_.data()); }

 private:
  DeviceBuffer buffer_;
};

/// True in the block that is the last of `blocks` to come here; what the others wrote before is then visible through
/// load_shared_result. All threads of a block call it.
__device__ inline bool last_block(std::uint32_t* counter, int blocks) {
  __shared__ bool last;
  __threadfence();
  __syncthreads();
  if (blocks == 1) return true;
  if (threadIdx.x == 0) {
    last = atomicAdd(counter, 1u) + 1 == static_cast<std::uint32_t>(blocks);
    if (last) *counter = 0;
  }
  __syncthreads();
  __threadfence();
  return last;
}

/// Sums over the block; complete in thread 0. All threads call it, and blockDim.x is a multiple of 32.
template <int N>
__device__ void block_sum(float (&value)[N]) {
  __shared__ float warp_sum[N][32];
  int const warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
#pragma unroll
  for (int n = 0; n < N; ++n) {
#pragma unroll
    for (int offset = 16; offset > 0; offset /= 2) value[n] += __shfl_xor_sync(~0u, value[n], offset);
  }
  __syncthreads();  // an earlier call's readers are done
  if (lane == 0) {
#pragma unroll
    for (int n = 0; n < N; ++n) warp_sum[n][warp] = value[n];
  }
  __syncthreads();
  if (warp == 0) {
#pragma unroll
    for (int n = 0; n < N; ++n) {
      value[n] = lane < static_cast<int>(blockDim.x) / 32 ? warp_sum[n][lane] : 0.0f;
#pragma unroll
      for (int offset = 16; offset > 0; offset /= 2) value[n] += __shfl_xor_sync(~0u, value[n], offset);
    }
  }
}

/// Sums `value` over all threads of the grid and calls finish(total) in one thread of the last block.
/// `partials` has N floats for each block.
template <int N, class Finish>
__device__ void grid_sum(float (&value)[N], float* partials, std::uint32_t* counter, Finish const& finish) {
  int const blocks = static_cast<int>(gridDim.x);
  block_sum(value);
  if (threadIdx.x == 0) {
#pragma unroll
    for (int n = 0; n < N; ++n) partials[n * blocks + blockIdx.x] = value[n];
  }
  if (!last_block(counter, blocks)) return;
#pragma unroll
  for (int n = 0; n < N; ++n) {
    value[n] = 0.0f;
    for (int block = static_cast<int>(threadIdx.x); block < blocks; block += static_cast<int>(blockDim.x)) {
      value[n] += load_shared_result(partials + n * blocks + block);
    }
  }
  block_sum(value);
  if (threadIdx.x == 0) finish(value);
}

/// Threads of a block that walks over the rows of a (rows, channels) matrix.
inline constexpr int column_threads = 512;

/// How a (rows, channels) matrix is shared out: blocks (slice, split) take a slice of the channels and a range of the
/// rows. In a block, `1 << vectors_log2` threads stand side by side along the channels, and the rest along the rows.
struct ColumnTiling {
  int vectors_log2;
  int slices, splits;
  std::int64_t rows_per_split;

  dim3 grid() const { return dim3(static_cast<unsigned>(slices), static_cast<unsigned>(splits)); }
  constexpr MIXPREC_HD int vectors() const { return 1 << vectors_log2; }
};

/// A tiling with vectors of W channels, `unroll` rows in flight a thread. A slice is 128 bytes of half precision, so
/// that every access fills whole sectors; splits fill the device once, or twice where every block still has much to do.
template <int W>
ColumnTiling tile_columns(Stream const& stream, std::int64_t rows, std::int64_t channels, int unroll) {
  ColumnTiling tiling{};
  int const vectors = power_of_two_at_least(divide_up(channels, W), W == 1 ? 32 : 8);
  while (1 << tiling.vectors_log2 < vectors) ++tiling.vectors_log2;
  int const lanes = column_threads / vectors;
  rows = std::max<std::int64_t>(rows, 1);
  std::int64_t const slices = divide_up(channels, std::int64_t{W} * vectors);
  std::int64_t const most = divide_up(rows, std::int64_t{lanes} * unroll);
  std::int64_t const once = std::max<std::int64_t>(1, stream.multiprocessors() / slices);
  std::int64_t const twice = std::max<std::int64_t>(1, 2 * stream.multiprocessors() / slices);
  std::int64_t const splits = most >= 8 * twice ? twice : std::min(once, most);
  tiling.rows_per_split = divide_up(divide_up(rows, splits), lanes) * lanes;
  tiling.splits = static_cast<int>(divide_up(rows, tiling.rows_per_split));
  tiling.slices = static_cast<int>(grid_extent("a kernel over channels", slices));
  return tiling;
}

/// Where one thread stands in a ColumnTiling.
struct ColumnPosition {
  std::int64_t channel;   // the first of its W channels; not less than the matrix's channels where it has no work
  std::int64_t row, end;  // its first row, and the end of the block's rows
  int lanes;              // its rows are this far apart
};

template <int W>
__device__ ColumnPosition column_position(ColumnTiling const& tiling, std::int64_t rows) {
  int const thread = static_cast<int>(threadIdx.x);
  std::int64_t const begin = std::int64_t{blockIdx.y} * tiling.rows_per_split;
  std::int64_t const end = begin + tiling.rows_per_split;
  ColumnPosition position;
  position.channel = (std::int64_t{blockIdx.x} * tiling.vectors() + (thread & (tiling.vectors() - 1))) * W;
  position.row = begin + (thread >> tiling.vectors_log2);
  position.end = end < rows ? end : rows;
  position.lanes = static_cast<int>(blockDim.x) >> tiling.vectors_log2;
  return position;
}

/// Sums over the threads of a block that stand on the same channels. Returns true in the threads below vectors * W:
/// each has the totals of the slice's channel threadIdx.x. All threads call it, once in a kernel.
template <int N, int W>
__device__ bool merge_lanes(int vectors, float (&value)[N][W], float (&total)[N]) {
  constexpr int most_channels = W == 1 ? 32 : 8 * W;
  __shared__ float warp_sum[column_threads / 32][N][most_channels];
  int const warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  for (int offset = 16; offset >= vectors; offset /= 2) {
#pragma unroll
    for (int n = 0; n < N; ++n) {
#pragma unroll
      for (int j = 0; j < W; ++j) value[n][j] += __shfl_xor_sync(~0u, value[n][j], offset);
    }
  }
  if (lane < vectors) {
#pragma unroll
    for (int n = 0; n < N; ++n) {
#pragma unroll
      for (int j = 0; j < W; ++j) warp_sum[warp][n][lane * W + j] = value[n][j];
    }
  }
  __syncthreads();
  if (static_cast<int>(threadIdx.x) >= vectors * W) return false;
  int const warps = static_cast<int>(blockDim.x) / 32;
#pragma unroll
  for (int n = 0; n < N; ++n) {
    total[n] = 0.0f;
    for (int w = 0; w < warps; ++w) total[n] += warp_sum[w][n][threadIdx.x];
  }
  return true;
}

/// Sums over the splits of a slice, in its last block: add(split, channel of the slice, total) adds one split's part.
/// Returns true in the threads below `channels` (a power of two), which have the totals of channel threadIdx.x. All
/// threads call it, once in a kernel; the block has column_threads threads.
template <int N, class Add>
__device__ bool merge_splits(int channels, int splits, Add const& add, float (&total)[N]) {
  __shared__ float shared[N][column_threads];
  int const thread = static_cast<int>(threadIdx.x);
  int const channel = thread & (channels - 1), groups = column_threads / channels;
#pragma unroll
  for (int n = 0; n < N; ++n) total[n] = 0.0f;
#pragma unroll 8
  for (int split = thread / channels; split < splits; split += groups) add(split, channel, total);
#pragma unroll
  for (int n = 0; n < N; ++n) shared[n][thread] = total[n];
  for (int half = column_threads / 2; half >= channels; half /= 2) {
    __syncthreads();
    if (thread < half) {
#pragma unroll
      for (int n = 0; n < N; ++n) shared[n][thread] += shared[n][thread + half];
    }
  }
  if (thread >= channels) return false;
#pragma unroll
  for (int n = 0; n < N; ++n) total[n] = shared[n][thread];
  return true;
}

}  // namespace mixprec::inline MIXPREC_ABI::cuda::detail
