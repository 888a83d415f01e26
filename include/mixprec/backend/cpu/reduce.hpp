// SPDX-License-Identifier: Apache-2.0
// Sums: over rows (bias gradients), over everything (mean and sum), and their backward, a broadcast scalar.
#pragma once

#include <mixprec/backend/cpu/partition.hpp>

namespace mixprec::inline MIXPREC_ABI::cpu {

namespace detail {
/// Sum of term(i) over [0, n), in double at the end. Short runs are summed in `Acc`, in lanes that map to vector
/// registers; the order depends on n alone.
template <class Acc, class Term>
double sum_of(Stream& stream, std::int64_t n, Term const& term) {
  constexpr std::int64_t lanes = 32, run = 128 * lanes;
  Chunks const chunks(n, 4 * run);
  auto* const partial = static_cast<double*>(stream.scratch(static_cast<std::size_t>(chunks.count) * sizeof(double)));
  parallel_for(stream, chunks.count, 1, [=, &term](std::int64_t first, std::int64_t last) {
    for (std::int64_t chunk = first; chunk < last; ++chunk) {
      double total = 0;
      std::int64_t i = chunks.begin(chunk);
      std::int64_t const end = chunks.end(chunk);
      while (i < end) {
        Acc sums[lanes] = {};
        std::int64_t const stop = std::min(end, i + run);
        for (; i + lanes <= stop; i += lanes) {
          for (std::int64_t lane = 0; lane < lanes; ++lane) sums[lane] += term(i + lane);
        }
        for (std::int64_t lane = 0; i < stop; ++i, ++lane) sums[lane] += term(i);
        for (Acc const sum : sums) total += static_cast<double>(sum);
      }
      partial[chunk] = total;
    }
  });
  double total = 0;
  for (std::int64_t chunk = 0; chunk < chunks.count; ++chunk) total += partial[chunk];
  return total;
}
}  // namespace detail

/// y[j] = sum over rows of x(row, j). Shapes: x (rows, cols), y (cols).
/// Precision: blocks of 256 rows in the accumulator type, their sums in double, one rounding.
template <floating_dtype X, floating_dtype Y>
void column_sum(Stream& stream, std::int64_t rows, std::int64_t cols, X const* x, Y* y) {
  using Acc = accumulator_t<X>;
  detail::Chunks const chunks(rows, 128);
  std::int64_t const slot = cols * static_cast<std::int64_t>(sizeof(double) + sizeof(Acc));
  auto* const memory = static_cast<char*>(stream.scratch(static_cast<std::size_t>(chunks.count * slot)));
  auto* const totals = reinterpret_cast<double*>(memory);
  auto* const blocks = reinterpret_cast<Acc*>(totals + chunks.count * cols);
  parallel_for(stream, chunks.count, 1, [=](std::int64_t first, std::int64_t last) {
    for (std::int64_t chunk = first; chunk < last; ++chunk) {
      double* __restrict total = totals + chunk * cols;
      Acc* __restrict block = blocks + chunk * cols;
      std::fill(total, total + cols, 0.0);
      for (std::int64_t row = chunks.begin(chunk); row < chunks.end(chunk);) {
        std::int64_t const stop = std::min(chunks.end(chunk), row + detail::rows_per_block);
        std::fill(block, block + cols, Acc{0});
        for (; row < stop; ++row) {
          X const* __restrict from = x + row * cols;
          for (std::int64_t j = 0; j < cols; ++j) block[j] += convert<Acc>(from[j]);
        }
        for (std::int64_t j = 0; j < cols; ++j) total[j] += static_cast<double>(block[j]);
      }
    }
  });
  for (std::int64_t j = 0; j < cols; ++j) {
    double total = 0;
    for (std::int64_t chunk = 0; chunk < chunks.count; ++chunk) total += totals[chunk * cols + j];
    y[j] = convert<Y>(total);
  }
}

/// y[0] = factor * sum of x, one rounding.
template <floating_dtype X, floating_dtype Y>
void sum(Stream& stream, X const* x, std::int64_t n, double factor, Y* y) {
  using Acc = accumulator_t<X>;
  y[0] = convert<Y>(factor * detail::sum_of<Acc>(stream, n, [x](std::int64_t i) { return convert<Acc>(x[i]); }));
}

/// dx[i] = factor * dy[0]: the backward of `sum`.
template <floating_dtype Y, floating_dtype X>
void broadcast_scalar(Stream& stream, Y const* dy, double factor, X* dx, std::int64_t n) {
  X const value = convert<X>(factor * convert<double>(dy[0]));
  parallel_for(stream, n, detail::element_grain,
               [=](std::int64_t begin, std::int64_t end) { std::fill(dx + begin, dx + end, value); });
}

}  // namespace mixprec::inline MIXPREC_ABI::cpu
