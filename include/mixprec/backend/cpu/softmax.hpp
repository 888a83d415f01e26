// SPDX-License-Identifier: Apache-2.0
// Softmax and log-softmax over the rows of a matrix, and their gradients.
#pragma once

#include <cmath>
#include <limits>

#include <mixprec/backend/cpu/partition.hpp>

namespace mixprec::inline MIXPREC_ABI::cpu {

namespace detail {
/// The largest element and the sum of exp(x - largest) of one row. NaN reaches the sum.
template <class Acc>
struct RowExponentials {
  Acc largest = -std::numeric_limits<Acc>::infinity(), sum = 0;

  template <class X>
  RowExponentials(X const* x, std::int64_t cols) {
    for (std::int64_t j = 0; j < cols; ++j) largest = std::max(largest, convert<Acc>(x[j]));
    for (std::int64_t j = 0; j < cols; ++j) sum += std::exp(convert<Acc>(x[j]) - largest);
  }
  Acc log_sum() const { return largest + std::log(sum); }
};
}  // namespace detail

/// y = softmax(x) or log(softmax(x)) over each row. Shapes: x, y (rows, cols).
template <floating_dtype X, floating_dtype Y>
void softmax_forward(Stream& stream, std::int64_t rows, std::int64_t cols, bool log, X const* x, Y* y) {
  using Acc = accumulator_t<X>;
  parallel_for(stream, rows, detail::row_grain(8 * cols), [=](std::int64_t row, std::int64_t end) {
    for (; row < end; ++row) {
      X const* const from = x + row * cols;
      Y* const to = y + row * cols;
      detail::RowExponentials<Acc> const exponentials(from, cols);
      Acc const largest = exponentials.largest;
      if (log) {
        Acc const log_of_sum = std::log(exponentials.sum);
        for (std::int64_t j = 0; j < cols; ++j) to[j] = convert<Y>(convert<Acc>(from[j]) - largest - log_of_sum);
      } else {
        Acc const inverse = Acc{1} / exponentials.sum;
        for (std::int64_t j = 0; j < cols; ++j) {
          to[j] = convert<Y>(std::exp(convert<Acc>(from[j]) - largest) * inverse);
        }
      }
    }
  });
}

/// dx = y * (dy - sum(y * dy)), or for log dx = dy - exp(y) * sum(dy), over each row; y is the forward's result.
template <floating_dtype Y, floating_dtype X>
void softmax_backward(Stream& stream, std::int64_t rows, std::int64_t cols, bool log, Y const* y, Y const* dy, X* dx) {
  using Acc = accumulator_t<X>;
  parallel_for(stream, rows, detail::row_grain(8 * cols), [=](std::int64_t row, std::int64_t end) {
    for (; row < end; ++row) {
      Y const* const result = y + row * cols;
      Y const* const upstream = dy + row * cols;
      X* const out = dx + row * cols;
      Acc total = 0;
      for (std::int64_t j = 0; j < cols; ++j) {
        total += log ? convert<Acc>(upstream[j]) : convert<Acc>(result[j]) * convert<Acc>(upstream[j]);
      }
      for (std::int64_t j = 0; j < cols; ++j) {
        Acc const value = convert<Acc>(result[j]), gradient = convert<Acc>(upstream[j]);
        out[j] = convert<X>(log ? gradient - std::exp(value) * total : value * (gradient - total));
      }
    }
  });
}

}  // namespace mixprec::inline MIXPREC_ABI::cpu
