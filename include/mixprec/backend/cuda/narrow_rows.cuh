// SPDX-License-Identifier: Apache-2.0
// What the convolutions of few channels share: how strips of rows are dealt out to groups of warps ("walkers"), and how
// a walker brings its rows into shared memory ahead of time.
#pragma once

#include <algorithm>  // std::min, std::max
#include <cstdint>

#include <mixprec/backend/cuda/launch.cuh>
#include <mixprec/backend/cuda/stream.hpp>
#include <mixprec/backend/cuda/warp_mma.cuh>

namespace mixprec::inline MIXPREC_ABI::cuda::detail {

/// Columns of the output that a walker takes: the pixels of one matrix fragment.
inline constexpr int narrow_columns = 16;
/// Columns of the input that a 3x3 window needs for them.
inline constexpr int narrow_window_columns = narrow_columns + 2;

/// Extents of a 3x3 convolution of stride 1, with every row of every image counted in an int.
struct NarrowShape {
  int images, h, w;  // input
  int p, q;          // output
  int padding;
  int strips, ranges;  // walker i takes strip i % strips of the columns, and range i / strips of the output's rows
};

/// Deals out the rows so that the device is filled once, with at least `least` rows to a walker.
inline NarrowShape narrow_shape(Stream const& stream, std::int64_t images, std::int64_t h, std::int64_t w,
                                std::int64_t p, std::int64_t q, int padding, int walkers) {
  constexpr std::int64_t least = 4;
  std::int64_t const strips = divide_up(q, narrow_columns), slots = std::int64_t{walkers} * stream.multiprocessors();
  std::int64_t const ranges = std::max<std::int64_t>(1, std::min(slots / strips, divide_up(images * p, least)));
  auto const small = [](std::int64_t value) { return static_cast<int>(value); };
  return {small(images), small(h), small(w), small(p), small(q), padding, small(strips), small(ranges)};
}
inline std::int64_t narrow_blocks(NarrowShape const& shape, int walkers) {
  return divide_up(std::int64_t{shape.strips} * shape.ranges, walkers);
}

/// Where a walker stands in its range of output rows. A step brings in one input row, the last of the three under the
/// output row `row`; so each image starts two steps early, with rows that the walker does not own.
struct RowWalk {
  int image, row;
  int first;  // the first row of this image that the walker owns
  int left;   // steps to go

  __device__ RowWalk(int begin, int end, int rows)
      : image(begin / rows), row(begin % rows - 2), first(begin % rows), left(0) {
    if (begin < end) left = end - begin + 2 * ((end - 1) / rows - image + 1);
  }
  __device__ bool owned() const { return row >= first; }
  __device__ void advance(int rows) {
    ++row;
    --left;
    bool const next = row == rows;
    image += next ? 1 : 0;
    first = next ? 0 : first;
    row = next ? -2 : row;
  }
};

/// Offset in bytes of 16 bytes ("chunk") of a pixel's channels, in a row of pixels in shared memory. The order of the
/// chunks changes from pixel to pixel, so that any eight pixels side by side have the same chunk in different banks.
template <int Chunks>
__device__ constexpr std::uint32_t swizzled(int pixel, int chunk) {
  static_assert(Chunks == 2 || Chunks == 4 || Chunks == 8,
                "mixprec: swizzled takes 16, 32 or 64 channels of two bytes");
  return static_cast<std::uint32_t>((pixel * Chunks + (chunk ^ (pixel / (8 / Chunks) % Chunks))) * 16);
}

/// Copies `Pixels` pixels of a row with C channels into shared memory, zeros where a column is outside of the image.
/// Everything that does not change from row to row is worked out in advance, because a row is only a few products long.
template <class T, int C, int Pixels, int Threads>
class RowCopy {
 public:
  static constexpr int chunks = C * static_cast<int>(sizeof(T)) / 16;
  static constexpr int bytes = Pixels * C * static_cast<int>(sizeof(T));

  /// `to` is the first slot for rows; rows of `tensor` have `width` pixels.
  __device__ RowCopy(int thread, SharedAddress to, T const* tensor, int first_column, int width)
      : row_bytes_(static_cast<std::uint32_t>(width * C) * sizeof(T)) {
#pragma unroll
    for (int i = 0; i < each; ++i) {
      int const item = thread + i * Threads, pixel = item / chunks, column = first_column + pixel;
      bool const inside = column >= 0 && column < width;
      busy_[i] = item < items;
      to_[i] = to + swizzled<chunks>(pixel, item % chunks);
      from_[i] = reinterpret_cast<unsigned char const*>(tensor + (inside ? column * C : 0)) + item % chunks * 16;
      bytes_[i] = inside ? 16 : 0;
    }
  }
  /// Starts the copy of row `row` to `offset` bytes behind the first slot; all zeros unless `inside`.
  __device__ void start(std::uint32_t offset, int row, bool inside) const {
    std::uint64_t const skip = std::uint64_t{inside ? static_cast<std::uint32_t>(row) : 0u} * row_bytes_;
#pragma unroll
    for (int i = 0; i < each; ++i) {
      if (busy_[i]) copy_async(to_[i] + offset, from_[i] + skip, inside ? bytes_[i] : 0);
    }
  }

 private:
  static constexpr int items = Pixels * chunks;
  static constexpr int each = (items + Threads - 1) / Threads;
  std::uint32_t row_bytes_;
  std::uint32_t to_[each];
  unsigned char const* from_[each];
  int bytes_[each];
  bool busy_[each];
};

}  // namespace mixprec::inline MIXPREC_ABI::cuda::detail
