// SPDX-License-Identifier: Apache-2.0
// The blocked matrix product behind the reference matmul and convolution; operands come as functions that fill rows.
#pragma once

#include <mixprec/backend/cpu/partition.hpp>

namespace mixprec::inline MIXPREC_ABI::cpu::detail {

/// Tile extents: a task owns a tile of rows x columns of the result and walks k in blocks of depth.
struct GemmTile {
  static constexpr std::int64_t rows = 64, columns = 128, depth = 256;
  static constexpr std::int64_t row_strip = 4, column_strip = 32;  // of the innermost loops, held in registers
};

/// sums(row_strip, column_strip) += a(row_strip, depth) * b(depth, column_strip).
template <class Acc>
void gemm_strip(std::int64_t depth, Acc const* __restrict a, Acc const* __restrict b, Acc* __restrict sums) {
  constexpr std::int64_t width = GemmTile::column_strip;
  Acc s0[width] = {}, s1[width] = {}, s2[width] = {}, s3[width] = {};
  for (std::int64_t kk = 0; kk < depth; ++kk, b += width) {
    Acc const a0 = a[kk], a1 = a[GemmTile::depth + kk];
    Acc const a2 = a[2 * GemmTile::depth + kk], a3 = a[3 * GemmTile::depth + kk];
    for (std::int64_t j = 0; j < width; ++j) s0[j] += a0 * b[j];
    for (std::int64_t j = 0; j < width; ++j) s1[j] += a1 * b[j];
    for (std::int64_t j = 0; j < width; ++j) s2[j] += a2 * b[j];
    for (std::int64_t j = 0; j < width; ++j) s3[j] += a3 * b[j];
  }
  for (std::int64_t j = 0; j < width; ++j) sums[j] += s0[j];
  for (std::int64_t j = 0; j < width; ++j) sums[GemmTile::columns + j] += s1[j];
  for (std::int64_t j = 0; j < width; ++j) sums[2 * GemmTile::columns + j] += s2[j];
  for (std::int64_t j = 0; j < width; ++j) sums[3 * GemmTile::columns + j] += s3[j];
}

/// A worker's memory: packed operands and the tile of sums.
template <class Acc>
struct GemmBuffers {
  Acc a[GemmTile::rows * GemmTile::depth];
  Acc b[GemmTile::depth * GemmTile::columns];
  Acc sums[GemmTile::rows * GemmTile::columns];
  Acc line[GemmTile::columns];
};

/// One tile over k in [k_begin, k_end); the result is in buffers.sums.
template <class Acc, class RowOfA, class RowOfB>
void gemm_tile(GemmBuffers<Acc>& buffers, std::int64_t row, std::int64_t rows, std::int64_t column,
               std::int64_t columns, std::int64_t k_begin, std::int64_t k_end, RowOfA const& row_of_a,
               RowOfB const& row_of_b) {
  using Tile = GemmTile;
  std::int64_t const strips = (columns + Tile::column_strip - 1) / Tile::column_strip;
  std::int64_t const padded_rows = (rows + Tile::row_strip - 1) / Tile::row_strip * Tile::row_strip;
  std::fill(buffers.sums, buffers.sums + padded_rows * Tile::columns, Acc{0});
  for (std::int64_t k = k_begin; k < k_end; k += Tile::depth) {
    std::int64_t const depth = std::min(Tile::depth, k_end - k);
    for (std::int64_t i = 0; i < rows; ++i) row_of_a(row + i, k, depth, buffers.a + i * Tile::depth);
    for (std::int64_t i = rows; i < padded_rows; ++i) {
      std::fill(buffers.a + i * Tile::depth, buffers.a + i * Tile::depth + depth, Acc{0});
    }
    std::fill(buffers.line, buffers.line + Tile::columns, Acc{0});
    for (std::int64_t kk = 0; kk < depth; ++kk) {
      row_of_b(k + kk, column, columns, buffers.line);
      for (std::int64_t strip = 0; strip < strips; ++strip) {
        std::copy_n(buffers.line + strip * Tile::column_strip, Tile::column_strip,
                    buffers.b + (strip * Tile::depth + kk) * Tile::column_strip);
      }
    }
    for (std::int64_t strip = 0; strip < strips; ++strip) {
      for (std::int64_t i = 0; i < padded_rows; i += Tile::row_strip) {
        gemm_strip(depth, buffers.a + i * Tile::depth, buffers.b + strip * Tile::depth * Tile::column_strip,
                   buffers.sums + i * Tile::columns + strip * Tile::column_strip);
      }
    }
  }
}

/// The matrix product of (m, k) and (k, n).
///
///   row_of_a(i, k0, count, out):   out[0..count) = a(i, k0 ...)
///   row_of_b(kk, j0, count, out):  out[0..count) = b(kk, j0 ...)
///   store(i, j0, count, sums):     takes result(i, j0 ...)
///
/// Precision: products summed in `Acc`, in blocks of 256 along k. A result with few elements and a long k is also split
/// along k; splits depend on the extents alone.
template <class Acc, class RowOfA, class RowOfB, class Store>
void gemm(Stream& stream, std::int64_t m, std::int64_t n, std::int64_t k, RowOfA const& row_of_a,
          RowOfB const& row_of_b, Store const& store) {
  using Tile = GemmTile;
  std::int64_t const row_tiles = (m + Tile::rows - 1) / Tile::rows;
  std::int64_t const column_tiles = (n + Tile::columns - 1) / Tile::columns, tiles = row_tiles * column_tiles;
  if (tiles == 0) return;
  std::int64_t const splits = tiles >= 16 ? 1 : std::clamp<std::int64_t>(k / (4 * Tile::depth), 1, 16 / tiles);
  std::int64_t const split_depth = ((k + splits - 1) / splits + Tile::depth - 1) / Tile::depth * Tile::depth;
  std::int64_t const tasks = tiles * splits, workers = std::min<std::int64_t>(stream.threads(), tasks);
  std::int64_t const partial = splits > 1 ? splits * m * n : 0;
  std::size_t const bytes =
      static_cast<std::size_t>(workers) * sizeof(GemmBuffers<Acc>) + static_cast<std::size_t>(partial) * sizeof(Acc);
  auto* const buffers = static_cast<GemmBuffers<Acc>*>(stream.scratch(bytes));
  auto* const partials = reinterpret_cast<Acc*>(buffers + workers);

  for_each_task(stream, tasks, [&](std::int64_t worker, std::int64_t task) {
    std::int64_t const split = task / tiles, tile = task % tiles;
    std::int64_t const row = tile / column_tiles * Tile::rows, column = tile % column_tiles * Tile::columns;
    std::int64_t const rows = std::min(Tile::rows, m - row), columns = std::min(Tile::columns, n - column);
    gemm_tile(buffers[worker], row, rows, column, columns, split * split_depth, std::min(k, (split + 1) * split_depth),
              row_of_a, row_of_b);
    for (std::int64_t i = 0; i < rows; ++i) {
      Acc const* const sums = buffers[worker].sums + i * Tile::columns;
      if (splits == 1) {
        store(row + i, column, columns, sums);
      } else {
        std::copy_n(sums, columns, partials + (split * m + row + i) * n + column);
      }
    }
  });
  if (splits == 1) return;
  parallel_for(stream, m, row_grain(n * splits), [&](std::int64_t row, std::int64_t end) {
    for (; row < end; ++row) {
      Acc* const sums = partials + row * n;
      for (std::int64_t split = 1; split < splits; ++split) {
        for (std::int64_t j = 0; j < n; ++j) sums[j] += sums[split * m * n + j];
      }
      store(row, 0, n, sums);
    }
  });
}

/// out[i] = from[i * stride], widened.
template <class Acc, class T>
void widen(T const* from, std::int64_t stride, std::int64_t count, Acc* __restrict out) {
  if (stride == 1) {
    for (std::int64_t i = 0; i < count; ++i) out[i] = convert<Acc>(from[i]);
  } else {
    for (std::int64_t i = 0; i < count; ++i) out[i] = convert<Acc>(from[i * stride]);
  }
}

}  // namespace mixprec::inline MIXPREC_ABI::cpu::detail
