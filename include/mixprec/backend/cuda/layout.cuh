// SPDX-License-Identifier: Apache-2.0
// Changes of memory order: NHWC to NCHW and back, and general permutations. Values are copied, never converted, so the
// kernels know an element's size only.
#pragma once

#include <mixprec/backend/cuda/launch.cuh>

namespace mixprec::inline MIXPREC_ABI::cuda {

namespace detail {

inline constexpr int permute_max_rank = 6;

/// y's extents and, for each of its axes, the distance in x; outermost first.
struct PermuteAxes {
  int rank;
  std::int64_t extents[permute_max_rank], strides[permute_max_rank];
};

template <class Word>
__global__ void permute_kernel(PermuteAxes axes, std::int64_t elements, Word const* x, Word* y) {
  std::int64_t const i = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i >= elements) return;
  std::int64_t rest = i, from = 0;
#pragma unroll
  for (int axis = permute_max_rank - 1; axis > 0; --axis) {
    if (axis >= axes.rank) continue;
    Split const at = split(rest, axes.extents[axis]);
    from += at.remainder * axes.strides[axis];
    rest = at.quotient;
  }
  y[i] = x[from + rest * axes.strides[0]];
}

inline constexpr int transpose_tile = 32, transpose_rows = 8;

/// y(n, columns, rows) = transposed x(n, rows, columns), through a tile in shared memory, so that both sides are read
/// and written along their rows.
template <class Word>
__global__ void transpose_kernel(std::int64_t rows, std::int64_t columns, std::int64_t row_tiles,
                                 std::int64_t column_tiles, Word const* x, Word* y) {
  __shared__ Word tile[transpose_tile][transpose_tile + 1];
  Split const by_column = split(blockIdx.x, column_tiles);
  Split const by_row = split(by_column.quotient, row_tiles);
  std::int64_t const image = by_row.quotient * rows * columns;
  std::int64_t const first_row = by_row.remainder * transpose_tile;
  std::int64_t const first_column = by_column.remainder * transpose_tile;
  int const side = static_cast<int>(threadIdx.x) % transpose_tile;
  int const line = static_cast<int>(threadIdx.x) / transpose_tile;
#pragma unroll
  for (int i = line; i < transpose_tile; i += transpose_rows) {
    std::int64_t const row = first_row + i, column = first_column + side;
    if (row < rows && column < columns) tile[i][side] = x[image + row * columns + column];
  }
  __syncthreads();
#pragma unroll
  for (int i = line; i < transpose_tile; i += transpose_rows) {
    std::int64_t const row = first_row + side, column = first_column + i;
    if (row < rows && column < columns) y[image + column * rows + row] = tile[side][i];
  }
}

template <int Size>
struct WordOf;
template <>
struct WordOf<1> {
  using type = std::uint8_t;
};
template <>
struct WordOf<2> {
  using type = std::uint16_t;
};
template <>
struct WordOf<4> {
  using type = std::uint32_t;
};
template <>
struct WordOf<8> {
  using type = std::uint64_t;
};

template <class Word>
void permute_words(Stream& stream, PermuteAxes const& axes, std::int64_t elements, void const* x, void* y) {
  FlatGrid const grid = flat_grid(stream, "permute", elements);
  launch(stream, "permute", grid.blocks, grid.threads, permute_kernel<Word>, axes, elements,
         static_cast<Word const*>(x), static_cast<Word*>(y));
}

template <class T>
void transpose(Stream& stream, char const* name, std::int64_t n, std::int64_t rows, std::int64_t columns, T const* x,
               T* y) {
  using Word = typename WordOf<sizeof(T)>::type;
  std::int64_t const elements = n * rows * columns;
  if (elements == 0) return;
  if (rows == 1 || columns == 1) {
    check(cudaMemcpyAsync(y, x, static_cast<std::size_t>(elements) * sizeof(T), cudaMemcpyDeviceToDevice,
                          stream.handle()),
          name);
    return;
  }
  if (std::min(rows, columns) < transpose_rows) {
    // A tile would be mostly empty. A gather reads whole sectors nonetheless, through the first-level cache.
    permute_words<Word>(stream, {3, {n, columns, rows}, {rows * columns, 1, columns}}, elements, x, y);
    return;
  }
  std::int64_t const row_tiles = divide_up(rows, transpose_tile), column_tiles = divide_up(columns, transpose_tile);
  launch(stream, name, grid_extent(name, n * row_tiles * column_tiles), transpose_tile * transpose_rows,
         transpose_kernel<Word>, rows, columns, row_tiles, column_tiles, reinterpret_cast<Word const*>(x),
         reinterpret_cast<Word*>(y));
}

}  // namespace detail

/// x: (n, hw, c) to y: (n, c, hw).
template <class T>
void nhwc_to_nchw(Stream& stream, std::int64_t n, std::int64_t hw, std::int64_t c, T const* x, T* y) {
  detail::transpose(stream, "nhwc_to_nchw", n, hw, c, x, y);
}

/// x: (n, c, hw) to y: (n, hw, c).
template <class T>
void nchw_to_nhwc(Stream& stream, std::int64_t n, std::int64_t hw, std::int64_t c, T const* x, T* y) {
  detail::transpose(stream, "nchw_to_nhwc", n, c, hw, x, y);
}

/// y's axis i is x's axis order[i]; `extents` are x's, outermost first. Both arrays are read before the call returns.
/// Errors: a rank outside [1, 6].
template <class T>
void permute(Stream& stream, int rank, std::int64_t const* extents, int const* order, T const* x, T* y) {
  using Word = typename detail::WordOf<sizeof(T)>::type;
  if (rank < 1 || rank > detail::permute_max_rank) {
    throw Error("permute: rank " + std::to_string(rank) + " is not supported. Use 1 to 6 axes.");
  }
  std::int64_t x_strides[detail::permute_max_rank], elements = 1;
  for (int axis = rank; axis-- > 0;) {
    x_strides[axis] = elements;
    elements *= extents[axis];
  }
  if (elements == 0) return;
  // Axes that stay neighbours in the same order become one, which saves divisions and leaves longer rows.
  detail::PermuteAxes axes{};
  for (int axis = 0; axis < rank; ++axis) {
    std::int64_t const extent = extents[order[axis]], stride = x_strides[order[axis]];
    if (axis > 0 && order[axis] == order[axis - 1] + 1) {
      axes.extents[axes.rank - 1] *= extent;
      axes.strides[axes.rank - 1] = stride;
    } else {
      axes.extents[axes.rank] = extent;
      axes.strides[axes.rank++] = stride;
    }
  }
  if (axes.rank == 1) {
    check(cudaMemcpyAsync(y, x, static_cast<std::size_t>(elements) * sizeof(T), cudaMemcpyDeviceToDevice,
                          stream.handle()),
          "permute");
    return;
  }
  // Where the innermost rows are copied whole and divide, sixteen bytes are one element.
  constexpr std::int64_t width = 16 / sizeof(T);
  int const inner = axes.rank - 1;
  if (axes.strides[inner] == 1 && axes.extents[inner] % width == 0) {
    axes.extents[inner] /= width;
    for (int axis = 0; axis < inner; ++axis) axes.strides[axis] /= width;
    detail::permute_words<uint4>(stream, axes, elements / width, x, y);
  } else {
    detail::permute_words<Word>(stream, axes, elements, x, y);
  }
}

}  // namespace mixprec::inline MIXPREC_ABI::cuda
