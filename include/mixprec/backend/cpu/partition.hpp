// SPDX-License-Identifier: Apache-2.0
// How kernels of this folder divide work and name their arithmetic: shared by every file, included by no user.
#pragma once

#include <algorithm>
#include <cstdint>

#include <mixprec/backend/cpu/stream.hpp>
#include <mixprec/dtype/dtype.hpp>

namespace mixprec::inline MIXPREC_ABI::cpu {

/// The type that arithmetic on operands of these dtypes runs in: double where any is double, float otherwise.
template <floating_dtype... T>
using arithmetic_t = type_of_t<((dtype_of_v<T> == DType::float64) || ...) ? DType::float64 : DType::float32>;

namespace detail {

// Elements below which a second thread costs more than it saves.
inline constexpr std::int64_t element_grain = 16384;

/// Rows that a thread should at least get when each row costs `per_row` element operations.
inline std::int64_t row_grain(std::int64_t per_row) {
  return std::max<std::int64_t>(1, element_grain / std::max<std::int64_t>(1, per_row));
}

/// Ranges of a sum. They depend on the extents alone, never on the number of threads, so that a sum repeats bit for bit
/// on any machine.
struct Chunks {
  std::int64_t total, count, size;

  Chunks(std::int64_t n, std::int64_t smallest)
      : total(n),
        count(std::clamp<std::int64_t>(n / smallest, 1, 64)),
        size(std::max<std::int64_t>(1, (n + count - 1) / count)) {}
  std::int64_t begin(std::int64_t chunk) const { return std::min(total, chunk * size); }
  std::int64_t end(std::int64_t chunk) const { return std::min(total, (chunk + 1) * size); }
};

// Rows whose terms are summed in the accumulator type before the sum moves on to double.
inline constexpr std::int64_t rows_per_block = 256;

/// Calls body(worker, task) for every task; a worker runs on one thread, so it may own a slot of scratch memory.
template <class Body>
void for_each_task(Stream& stream, std::int64_t tasks, Body const& body) {
  std::int64_t const workers = std::min<std::int64_t>(stream.threads(), tasks);
  parallel_for(stream, workers, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t worker = begin; worker < end; ++worker) {
      for (std::int64_t task = worker; task < tasks; task += workers) body(worker, task);
    }
  });
}

}  // namespace detail
}  // namespace mixprec::inline MIXPREC_ABI::cpu
