// SPDX-License-Identifier: Apache-2.0
// Cross-entropy at label resolution from logits of a lower one: what lies between is computed pixel by pixel, never
// stored.
#pragma once

#include <cmath>

#include <mixprec/backend/cpu/loss.hpp>
#include <mixprec/backend/cpu/resize.hpp>

namespace mixprec::inline MIXPREC_ABI::cpu {

namespace detail {

// Rows of the input whose gradient one task sums; the outputs above them are computed by two tasks.
inline constexpr std::int64_t resize_task_rows = 8;

/// One image's share of the backward pass: adds the gradients of the outputs in gap `gap` of the rows to the gradients
/// of the input rows above and below it, each (W,C).
template <class Acc, class X>
void add_resized_cross_entropy(ResizeGeometry const& g, X const* image, std::int32_t const* target,
                               float const* class_weight, std::int32_t ignore_index, Acc const* lse, Acc factor,
                               std::int64_t gap, Acc* values, Acc* above, Acc* below) {
  for (std::int64_t p = g.rows.begin(gap); p < g.rows.begin(gap + 1); ++p) {
    Acc const down = g.rows.fraction<Acc>(g.rows.tap(p).rest);
    for (std::int64_t q = 0; q < g.columns.out; ++q) {
      std::int64_t const at = p * g.columns.out + q;
      std::int32_t const label = target[at];
      if (label == ignore_index) continue;
      Acc const weight = class_weight == nullptr ? factor : factor * static_cast<Acc>(class_weight[label]);
      interpolate_pixel<Acc>(g, image, p, q, g.c,
                             [&](std::int64_t j, Acc logit) { values[j] = std::exp(logit - lse[at]) * weight; });
      values[label] -= weight;
      ResizeAxis::Tap const tap = g.columns.tap(q);
      Acc const right = g.columns.fraction<Acc>(tap.rest);
      auto const add = [&](Acc* row, std::int64_t column, Acc share) {
        Acc* __restrict to = row + column * g.c;
        for (std::int64_t j = 0; j < g.c; ++j) to[j] += share * values[j];
      };
      add(above, tap.low, (1 - down) * (1 - right));
      add(above, tap.high, (1 - down) * right);
      add(below, tap.low, down * (1 - right));
      add(below, tap.high, down * right);
    }
  }
}

}  // namespace detail

/// cross_entropy_forward of resize_forward(logits), which is not stored and not rounded. `lse` is the log-sum-exp of
/// each output pixel, 0 where the target is `ignore_index`.
/// Shapes: logits (N,H,W,C), target and lse (N,P,Q), total_weight and loss (1); class_weight (C) or null.
/// Precision: pixels in the accumulator type, the sum over pixels in double.
/// Errors: a target outside [0, C) that is not ignore_index.
template <floating_dtype X>
void resize_cross_entropy_forward(Stream& stream, ResizeGeometry const& g, X const* logits, std::int32_t const* target,
                                  float const* class_weight, std::int32_t ignore_index, accumulator_t<X>* lse,
                                  accumulator_t<X>* total_weight, accumulator_t<X>* loss) {
  using Acc = accumulator_t<X>;
  struct Partial {
    double loss = 0, weight = 0;
    std::int64_t bad = -1;
  };
  std::int64_t const columns = g.columns.out, pixels = g.rows.out * columns;
  detail::Chunks const chunks(g.output_pixels(), 64);
  std::size_t const partial_bytes = static_cast<std::size_t>(chunks.count) * sizeof(Partial);
  auto* const memory = static_cast<unsigned char*>(
      stream.scratch(partial_bytes + static_cast<std::size_t>(stream.threads() * g.c) * sizeof(Acc)));
  auto* const partials = reinterpret_cast<Partial*>(memory);
  auto* const rows = reinterpret_cast<Acc*>(memory + partial_bytes);
  detail::for_each_task(stream, chunks.count, [&](std::int64_t worker, std::int64_t chunk) {
    Acc* const values = rows + worker * g.c;
    Partial partial;
    for (std::int64_t at = chunks.begin(chunk); at < chunks.end(chunk); ++at) {
      std::int32_t const label = target[at];
      lse[at] = 0;
      if (label == ignore_index) continue;
      if (label < 0 || label >= g.c) {
        if (partial.bad < 0) partial.bad = at;
        continue;
      }
      detail::interpolate_pixel<Acc>(g, logits + at / pixels * g.rows.in * g.columns.in * g.c,
                                     at / columns % g.rows.out, at % columns, g.c,
                                     [&](std::int64_t j, Acc value) { values[j] = value; });
      lse[at] = detail::RowExponentials<Acc>(values, g.c).log_sum();
      double const weight = class_weight == nullptr ? 1.0 : static_cast<double>(class_weight[label]);
      partial.loss += weight * static_cast<double>(lse[at] - values[label]);
      partial.weight += weight;
    }
    partials[chunk] = partial;
  });
  Partial total;
  for (std::int64_t chunk = 0; chunk < chunks.count; ++chunk) {
    Partial const& partial = partials[chunk];
    if (partial.bad >= 0) {
      throw Error("cross_entropy: target " + std::to_string(target[partial.bad]) + " of pixel " +
                  std::to_string(partial.bad) + " is no class of " + std::to_string(g.c) +
                  ". Give labels in [0, classes), or " + std::to_string(ignore_index) + " for pixels to leave out.");
    }
    total.loss += partial.loss;
    total.weight += partial.weight;
  }
  total_weight[0] = static_cast<Acc>(total.weight);
  loss[0] = static_cast<Acc>(total.loss / total.weight);
}

/// dlogits = for each input the sum over the outputs that it touches of its weight there times
/// (softmax - onehot(target)) * weight[target] * dloss / total_weight; ignored pixels add nothing.
/// Precision: sums in the accumulator type in an order that depends on the extents alone, one rounding.
template <floating_dtype X>
void resize_cross_entropy_backward(Stream& stream, ResizeGeometry const& g, X const* logits, std::int32_t const* target,
                                   float const* class_weight, std::int32_t ignore_index, accumulator_t<X> const* lse,
                                   accumulator_t<X> const* total_weight, accumulator_t<X> const* dloss, X* dlogits) {
  using Acc = accumulator_t<X>;
  Acc const factor = dloss[0] / total_weight[0];
  std::int64_t const line = g.columns.in * g.c, pixels = g.rows.out * g.columns.out;
  std::int64_t const strips = (g.rows.in + detail::resize_task_rows - 1) / detail::resize_task_rows;
  std::int64_t const slot = 2 * line + g.c;
  auto* const memory =
      static_cast<Acc*>(stream.scratch(static_cast<std::size_t>(stream.threads() * slot) * sizeof(Acc)));
  detail::for_each_task(stream, g.n * strips, [&](std::int64_t worker, std::int64_t task) {
    Acc* const values = memory + worker * slot;
    Acc *above = values + g.c, *below = above + line;
    std::int64_t const n = task / strips, first = task % strips * detail::resize_task_rows;
    std::int64_t const end = std::min(g.rows.in, first + detail::resize_task_rows);
    std::fill(below, below + line, Acc{0});
    for (std::int64_t gap = std::max<std::int64_t>(0, first - 1); gap < end; ++gap) {
      std::swap(above, below);
      std::fill(below, below + line, Acc{0});
      detail::add_resized_cross_entropy(g, logits + n * g.rows.in * line, target + n * pixels, class_weight,
                                        ignore_index, lse + n * pixels, factor, gap, values, above, below);
      if (gap < first) continue;  // the row above belongs to another task
      X* const out = dlogits + (n * g.rows.in + gap) * line;
      for (std::int64_t j = 0; j < line; ++j) out[j] = convert<X>(above[j]);
    }
  });
}

}  // namespace mixprec::inline MIXPREC_ABI::cpu
