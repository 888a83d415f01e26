// SPDX-License-Identifier: Apache-2.0
// Losses that end a forward pass: cross-entropy from logits and mean squared error.
#pragma once

#include <string>

#include <mixprec/backend/cpu/partition.hpp>
#include <mixprec/backend/cpu/reduce.hpp>
#include <mixprec/backend/cpu/softmax.hpp>
#include <mixprec/error.hpp>

namespace mixprec::inline MIXPREC_ABI::cpu {

/// Mean over rows of weight[target] * (lse - logits[target]), divided by the sum of the weights (PyTorch's
/// reduction="mean"); rows whose target is `ignore_index` do not count, and with no other row the loss is NaN.
/// Shapes: logits (rows, classes), target and lse (rows), total_weight and loss (1); class_weight (classes) or null.
/// Precision: rows in the accumulator type, sums over rows in double.
/// Errors: a target outside [0, classes) that is not ignore_index.
template <floating_dtype X>
void cross_entropy_forward(Stream& stream, std::int64_t rows, std::int64_t classes, X const* logits,
                           std::int32_t const* target, float const* class_weight, std::int32_t ignore_index,
                           accumulator_t<X>* lse, accumulator_t<X>* total_weight, accumulator_t<X>* loss) {
  using Acc = accumulator_t<X>;
  struct Partial {
    double loss = 0, weight = 0;
    std::int64_t bad_row = -1;
  };
  detail::Chunks const chunks(rows, 64);
  auto* const partials =
      static_cast<Partial*>(stream.scratch(static_cast<std::size_t>(chunks.count) * sizeof(Partial)));
  parallel_for(stream, chunks.count, std::max<std::int64_t>(1, detail::row_grain(8 * classes) / chunks.size),
               [=](std::int64_t chunk, std::int64_t last) {
                 for (; chunk < last; ++chunk) {
                   Partial partial;
                   for (std::int64_t row = chunks.begin(chunk); row < chunks.end(chunk); ++row) {
                     X const* const from = logits + row * classes;
                     Acc const log_sum = detail::RowExponentials<Acc>(from, classes).log_sum();
                     lse[row] = log_sum;
                     std::int32_t const label = target[row];
                     if (label == ignore_index) continue;
                     if (label < 0 || label >= classes) {
                       if (partial.bad_row < 0) partial.bad_row = row;
                       continue;
                     }
                     double const weight = class_weight == nullptr ? 1.0 : static_cast<double>(class_weight[label]);
                     partial.loss += weight * static_cast<double>(log_sum - convert<Acc>(from[label]));
                     partial.weight += weight;
                   }
                   partials[chunk] = partial;
                 }
               });
  Partial total;
  for (std::int64_t chunk = 0; chunk < chunks.count; ++chunk) {
    Partial const& partial = partials[chunk];
    if (partial.bad_row >= 0) {
      throw Error("cross_entropy: target " + std::to_string(target[partial.bad_row]) + " of row " +
                  std::to_string(partial.bad_row) + " is no class of " + std::to_string(classes) +
                  ". Give labels in [0, classes), or " + std::to_string(ignore_index) + " for rows to leave out.");
    }
    total.loss += partial.loss;
    total.weight += partial.weight;
  }
  total_weight[0] = static_cast<Acc>(total.weight);
  loss[0] = static_cast<Acc>(total.loss / total.weight);
}

/// dlogits = (softmax(logits) - onehot(target)) * weight[target] * dloss / total_weight; zero in ignored rows.
template <floating_dtype X>
void cross_entropy_backward(Stream& stream, std::int64_t rows, std::int64_t classes, X const* logits,
                            std::int32_t const* target, float const* class_weight, std::int32_t ignore_index,
                            accumulator_t<X> const* lse, accumulator_t<X> const* total_weight,
                            accumulator_t<X> const* dloss, X* dlogits) {
  using Acc = accumulator_t<X>;
  Acc const factor = dloss[0] / total_weight[0];
  parallel_for(stream, rows, detail::row_grain(8 * classes), [=](std::int64_t row, std::int64_t end) {
    for (; row < end; ++row) {
      X const* const from = logits + row * classes;
      X* const to = dlogits + row * classes;
      std::int32_t const label = target[row];
      if (label == ignore_index) {
        std::fill(to, to + classes, X{});
        continue;
      }
      Acc const weight = class_weight == nullptr ? factor : factor * static_cast<Acc>(class_weight[label]);
      for (std::int64_t j = 0; j < classes; ++j) {
        Acc const probability = std::exp(convert<Acc>(from[j]) - lse[row]);
        to[j] = convert<X>((probability - (j == label ? Acc{1} : Acc{0})) * weight);
      }
    }
  });
}

/// loss = mean of (x - target)^2; NaN for n = 0. Precision: differences in float, the sum in double at the end.
template <floating_dtype X, floating_dtype X2>
void mse_forward(Stream& stream, X const* x, X2 const* target, std::int64_t n, accumulator_t<X>* loss) {
  using Acc = accumulator_t<X>;
  double const total = detail::sum_of<Acc>(stream, n, [=](std::int64_t i) {
    Acc const difference = convert<Acc>(x[i]) - convert<Acc>(target[i]);
    return difference * difference;
  });
  loss[0] = static_cast<Acc>(total / static_cast<double>(n));
}

/// dx = 2 * (x - target) * dloss / n.
template <floating_dtype X, floating_dtype X2>
void mse_backward(Stream& stream, X const* x, X2 const* target, std::int64_t n, accumulator_t<X> const* dloss, X* dx) {
  using Acc = accumulator_t<X>;
  Acc const factor = static_cast<Acc>(2.0 * static_cast<double>(dloss[0]) / static_cast<double>(n));
  parallel_for(stream, n, detail::element_grain, [=](std::int64_t begin, std::int64_t end) {
    X const* __restrict from = x;
    X2 const* __restrict wanted = target;
    X* __restrict out = dx;
    for (std::int64_t i = begin; i < end; ++i) {
      out[i] = convert<X>((convert<Acc>(from[i]) - convert<Acc>(wanted[i])) * factor);
    }
  });
}

}  // namespace mixprec::inline MIXPREC_ABI::cpu
