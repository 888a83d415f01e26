// SPDX-License-Identifier: Apache-2.0
// Batch normalisation over the rows of a (rows, c) matrix: statistics in one pass, forward in one, backward in two.
#pragma once

#include <cmath>
#include <type_traits>  // std::type_identity_t

#include <mixprec/backend/cpu/partition.hpp>
#include <mixprec/backend/cpu/relu.hpp>

namespace mixprec::inline MIXPREC_ABI::cpu {

namespace detail {

/// Adds the mean and the sum of squared deviations of `rows` rows to those of `count` rows (Chan, Golub, LeVeque).
/// The block's moments are given as sums of (x - shift) and (x - shift)^2.
template <class X, class Acc>
void merge_moments(std::int64_t c, double count, double rows, X const* __restrict shift, Acc const* __restrict first,
                   Acc const* __restrict second, double* __restrict mean, double* __restrict m2) {
  double const weight = rows / (count + rows), cross = count * weight, inverse = 1.0 / rows;
  for (std::int64_t j = 0; j < c; ++j) {
    double const sum = static_cast<double>(first[j]);
    double const offset = sum * inverse;
    double const delta = convert<double>(shift[j]) + offset - mean[j];
    mean[j] += delta * weight;
    m2[j] += static_cast<double>(second[j]) - sum * offset + delta * delta * cross;
  }
}

/// Adds the sums of (x - shift) and (x - shift)^2 over rows [row, stop) to `first` and `second`.
template <class X, class Acc>
void shifted_sums(std::int64_t c, std::int64_t row, std::int64_t stop, X const* x, X const* __restrict shift,
                  Acc* __restrict first, Acc* __restrict second) {
  for (; row + 4 <= stop; row += 4) {  // four rows a pass: a quarter of the traffic to the sums
    X const* __restrict from = x + row * c;
    for (std::int64_t j = 0; j < c; ++j) {
      Acc const base = convert<Acc>(shift[j]);
      Acc const d0 = convert<Acc>(from[j]) - base, d1 = convert<Acc>(from[c + j]) - base;
      Acc const d2 = convert<Acc>(from[2 * c + j]) - base, d3 = convert<Acc>(from[3 * c + j]) - base;
      first[j] += (d0 + d1) + (d2 + d3);
      second[j] += (d0 * d0 + d1 * d1) + (d2 * d2 + d3 * d3);
    }
  }
  for (; row < stop; ++row) {
    X const* __restrict from = x + row * c;
    for (std::int64_t j = 0; j < c; ++j) {
      Acc const d = convert<Acc>(from[j]) - convert<Acc>(shift[j]);
      first[j] += d;
      second[j] += d * d;
    }
  }
}

/// Where backward finds the sign of relu's operand: nowhere (no relu), in y, or again from x, as forward rounds it.
enum class Mask { none, stored, recomputed };

/// Per-channel constants of the normalisation: y = (x - mean) * scale + bias.
template <class Acc>
struct NormTerms {
  Acc const *mean, *scale, *bias;
};

/// A value of Acc rounds to a positive Y where it is above this: half of Y's least value is a tie, which goes to zero.
/// Comparing is cheaper than rounding.
template <class Y, class Acc>
inline constexpr Acc rounds_to_positive_above = sizeof(Y) < sizeof(Acc)
                                                    ? static_cast<Acc>(traits_of(dtype_of_v<Y>).min_subnormal / 2)
                                                    : Acc{0};

/// The gradient that enters batch norm: dy, cut where the fused ReLU cut.
template <Mask mask, class Acc, class X, class Y>
Acc entering_gradient(Acc mean, Acc scale, Acc bias, X x, Y y, Y dy) {
  Acc const gradient = convert<Acc>(dy);
  if constexpr (mask == Mask::none) return gradient;
  if constexpr (mask == Mask::stored) return convert<Acc>(y) > Acc{0} ? gradient : Acc{0};
  Acc const normalised = (convert<Acc>(x) - mean) * scale + bias;
  return normalised > rounds_to_positive_above<Y, Acc> ? gradient : Acc{0};
}

/// Adds the sums of g and of g * (x - mean) over rows [row, stop).
template <Mask mask, class X, class Y, class Acc>
void gradient_sums(std::int64_t c, std::int64_t row, std::int64_t stop, X const* x, Y const* y, Y const* dy,
                   std::int64_t stride, NormTerms<Acc> const& terms, Acc* __restrict sum_g, Acc* __restrict sum_gx) {
  Acc const* __restrict mean = terms.mean;
  Acc const* __restrict scale = terms.scale;
  Acc const* __restrict bias = terms.bias;
  for (; row + 2 <= stop; row += 2) {
    X const* __restrict from = x + row * c;
    Y const* __restrict result = y + row * stride;
    Y const* __restrict upstream = dy + row * stride;
    for (std::int64_t j = 0; j < c; ++j) {
      Acc const g0 = entering_gradient<mask>(mean[j], scale[j], bias[j], from[j], result[j], upstream[j]);
      Acc const g1 =
          entering_gradient<mask>(mean[j], scale[j], bias[j], from[c + j], result[stride + j], upstream[stride + j]);
      sum_g[j] += g0 + g1;
      sum_gx[j] += g0 * (convert<Acc>(from[j]) - mean[j]) + g1 * (convert<Acc>(from[c + j]) - mean[j]);
    }
  }
  for (; row < stop; ++row) {
    for (std::int64_t j = 0; j < c; ++j) {
      Acc const g = entering_gradient<mask>(mean[j], scale[j], bias[j], x[row * c + j], y[row * stride + j],
                                            dy[row * stride + j]);
      sum_g[j] += g;
      sum_gx[j] += g * (convert<Acc>(x[row * c + j]) - mean[j]);
    }
  }
}

/// One row of the forward: t = (x - mean) * scale + bias, rounded; + residual, rounded; ReLU.
template <bool has_residual, bool relu, class X, class Y, class Acc>
void normalise_row(std::int64_t c, X const* __restrict x, Acc const* __restrict mean, Acc const* __restrict scale,
                   Acc const* __restrict bias, X const* __restrict residual, Y* __restrict y) {
  for (std::int64_t j = 0; j < c; ++j) {
    Y value = convert<Y>((convert<Acc>(x[j]) - mean[j]) * scale[j] + bias[j]);
    if constexpr (has_residual) value = convert<Y>(convert<Acc>(value) + convert<Acc>(residual[j]));
    if constexpr (relu) value = rectified(value);
    y[j] = value;
  }
}

/// One row of the backward's second pass: dx = scale * (g - mean_g - (x - mean) * slope), dresidual = g.
template <Mask mask, bool has_dx, bool has_dresidual, class X, class Y, class Acc>
void gradient_row(std::int64_t c, X const* __restrict x, Y const* __restrict y, Y const* __restrict dy,
                  Acc const* __restrict mean, Acc const* __restrict scale, Acc const* __restrict bias,
                  Acc const* __restrict mean_g, Acc const* __restrict slope, X* __restrict dx,
                  X* __restrict dresidual) {
  for (std::int64_t j = 0; j < c; ++j) {
    Acc const g = entering_gradient<mask>(mean[j], scale[j], bias[j], x[j], y[j], dy[j]);
    if constexpr (has_dx) dx[j] = convert<X>(scale[j] * (g - mean_g[j] - (convert<Acc>(x[j]) - mean[j]) * slope[j]));
    if constexpr (has_dresidual) dresidual[j] = convert<X>(g);
  }
}

}  // namespace detail

/// Batch mean and 1 / sqrt(biased variance + eps) of each column, and the running statistics' update: the running
/// variance takes the unbiased variance, running = (1 - momentum) * running + momentum * batch.
/// Precision: deviations from a row of the same block of 256 in the accumulator type, blocks merged in double, so that
/// a large mean cancels nothing.
template <floating_dtype X>
void batch_norm_statistics(Stream& stream, std::int64_t rows, std::int64_t c, X const* x, double eps,
                           accumulator_t<X>* mean, accumulator_t<X>* invstd, accumulator_t<X>* running_mean,
                           accumulator_t<X>* running_var, double momentum) {
  using Acc = accumulator_t<X>;
  detail::Chunks const chunks(rows, 128);
  std::int64_t const slot = 2 * c * static_cast<std::int64_t>(sizeof(double) + sizeof(Acc));
  auto* const moments = static_cast<double*>(stream.scratch(static_cast<std::size_t>(chunks.count * slot)));
  auto* const sums = reinterpret_cast<Acc*>(moments + chunks.count * 2 * c);
  parallel_for(stream, chunks.count, 1, [=](std::int64_t chunk, std::int64_t last) {
    for (; chunk < last; ++chunk) {
      double* const chunk_mean = moments + chunk * 2 * c;
      Acc* const first = sums + chunk * 2 * c;
      std::fill(chunk_mean, chunk_mean + 2 * c, 0.0);
      for (std::int64_t row = chunks.begin(chunk), stop = row; row < chunks.end(chunk); row = stop) {
        stop = std::min(chunks.end(chunk), row + detail::rows_per_block);
        std::fill(first, first + 2 * c, Acc{0});
        detail::shifted_sums(c, row, stop, x, x + row * c, first, first + c);
        detail::merge_moments(c, static_cast<double>(row - chunks.begin(chunk)), static_cast<double>(stop - row),
                              x + row * c, first, first + c, chunk_mean, chunk_mean + c);
      }
    }
  });
  double const n = static_cast<double>(rows);
  for (std::int64_t j = 0; j < c; ++j) {
    double total_mean = 0, total_m2 = 0;
    for (std::int64_t chunk = 0; chunk < chunks.count; ++chunk) {
      double const count = static_cast<double>(chunks.begin(chunk));
      double const added = static_cast<double>(chunks.end(chunk)) - count;
      if (added == 0) continue;
      double const delta = moments[chunk * 2 * c + j] - total_mean;
      total_mean += delta * added / (count + added);
      total_m2 += moments[chunk * 2 * c + c + j] + delta * delta * count * added / (count + added);
    }
    double const variance = total_m2 < 0 ? 0 : total_m2 / n;  // NaN stays NaN
    mean[j] = static_cast<Acc>(total_mean);
    invstd[j] = static_cast<Acc>(1.0 / std::sqrt(variance + eps));
    if (running_mean != nullptr) {
      running_mean[j] = static_cast<Acc>((1 - momentum) * static_cast<double>(running_mean[j]) + momentum * total_mean);
    }
    if (running_var != nullptr) {
      double const unbiased = variance * n / (n - 1);
      running_var[j] = static_cast<Acc>((1 - momentum) * static_cast<double>(running_var[j]) + momentum * unbiased);
    }
  }
}

/// invstd[j] = 1 / sqrt(running_var[j] + eps), for evaluation.
template <floating_dtype Acc>
void batch_norm_invstd(Stream&, std::int64_t c, Acc const* running_var, double eps, Acc* invstd) {
  for (std::int64_t j = 0; j < c; ++j) {
    invstd[j] = static_cast<Acc>(1.0 / std::sqrt(static_cast<double>(running_var[j]) + eps));
  }
}

/// y = (x - mean) * invstd * weight + bias, then + residual, then ReLU, each stage rounded to Y: the same bits as the
/// three ops one by one. `residual` may be null. y's rows lie `y_stride` elements apart, 0: c.
template <floating_dtype X, floating_dtype G, floating_dtype Y>
void batch_norm_forward(Stream& stream, std::int64_t rows, std::int64_t c, X const* x, accumulator_t<X> const* mean,
                        accumulator_t<X> const* invstd, G const* weight, G const* bias,
                        std::type_identity_t<X> const* residual, bool relu, Y* y, std::int64_t y_stride = 0) {
  using Acc = accumulator_t<X>;
  auto* const scale = static_cast<Acc*>(stream.scratch(static_cast<std::size_t>(2 * c) * sizeof(Acc)));
  auto* const shift = scale + c;
  if (y_stride == 0) y_stride = c;
  for (std::int64_t j = 0; j < c; ++j) {
    scale[j] = invstd[j] * convert<Acc>(weight[j]);
    shift[j] = convert<Acc>(bias[j]);
  }
  auto const run = [&](auto row_kernel) {
    parallel_for(stream, rows, detail::row_grain(c), [=](std::int64_t row, std::int64_t end) {
      for (; row < end; ++row) {
        row_kernel(c, x + row * c, mean, scale, shift, residual == nullptr ? x : residual + row * c,
                   y + row * y_stride);
      }
    });
  };
  if (residual != nullptr) {
    relu ? run([](auto... a) { detail::normalise_row<true, true>(a...); })
         : run([](auto... a) { detail::normalise_row<true, false>(a...); });
  } else {
    relu ? run([](auto... a) { detail::normalise_row<false, true>(a...); })
         : run([](auto... a) { detail::normalise_row<false, false>(a...); });
  }
}

/// Gradients of batch_norm_forward. With g = relu ? (y > 0 ? dy : 0) : dy and xhat = (x - mean) * invstd:
/// dbias = sum g, dweight = sum g * xhat, dresidual = g, and dx = weight * invstd * (g - dbias / rows
/// - xhat * dweight / rows), or weight * invstd * g where the statistics were not the batch's. Every output may be
/// null. So may y without relu, and with relu but without a residual, where `bias` then gives its sign.
/// The rows of y and dy lie `y_stride` elements apart, 0: c. Precision: sums as in batch_norm_statistics; dx uses
/// the unrounded dweight and dbias.
template <floating_dtype X, floating_dtype Y, floating_dtype G, floating_dtype GW>
void batch_norm_backward(Stream& stream, std::int64_t rows, std::int64_t c, X const* x,
                         std::type_identity_t<Y> const* y, Y const* dy, accumulator_t<X> const* mean,
                         accumulator_t<X> const* invstd, G const* weight, std::type_identity_t<G> const* bias,
                         bool relu, bool batch_statistics, std::type_identity_t<X>* dx,
                         std::type_identity_t<X>* dresidual, GW* dweight, std::type_identity_t<GW>* dbias,
                         std::int64_t y_stride = 0) {
  using Acc = accumulator_t<X>;
  if (y_stride == 0) y_stride = c;
  bool const recomputes = relu && y == nullptr;
  if (y == nullptr) y = dy;  // read nowhere, but a valid pointer for the loops' arithmetic
  detail::Chunks const chunks(rows, 128);
  std::int64_t const slot = 2 * c * static_cast<std::int64_t>(sizeof(double) + sizeof(Acc));
  std::size_t const coefficients_bytes = static_cast<std::size_t>(4 * c) * sizeof(Acc);
  auto* const totals =
      static_cast<double*>(stream.scratch(static_cast<std::size_t>(chunks.count * slot) + coefficients_bytes));
  auto* const sums = reinterpret_cast<Acc*>(totals + chunks.count * 2 * c);
  auto* const scale = sums + chunks.count * 2 * c;
  auto* const mean_g = scale + c;
  auto* const slope = mean_g + c;
  auto* const shift = slope + c;
  for (std::int64_t j = 0; j < c; ++j) {
    scale[j] = invstd[j] * convert<Acc>(weight[j]);
    shift[j] = recomputes ? convert<Acc>(bias[j]) : Acc{0};
  }
  detail::NormTerms<Acc> const terms{mean, scale, shift};
  bool const needs_sums = dweight != nullptr || dbias != nullptr || (dx != nullptr && batch_statistics);

  auto const sum_rows = [=]<detail::Mask mask>(std::int64_t chunk) {
    double* __restrict total = totals + chunk * 2 * c;
    Acc* __restrict block = sums + chunk * 2 * c;
    std::fill(total, total + 2 * c, 0.0);
    for (std::int64_t row = chunks.begin(chunk), stop = row; row < chunks.end(chunk); row = stop) {
      stop = std::min(chunks.end(chunk), row + detail::rows_per_block);
      std::fill(block, block + 2 * c, Acc{0});
      detail::gradient_sums<mask>(c, row, stop, x, y, dy, y_stride, terms, block, block + c);
      for (std::int64_t j = 0; j < 2 * c; ++j) total[j] += static_cast<double>(block[j]);
    }
  };
  if (needs_sums) {
    parallel_for(stream, chunks.count, 1, [=](std::int64_t chunk, std::int64_t last) {
      for (; chunk < last; ++chunk) {
        if (recomputes) {
          sum_rows.template operator()<detail::Mask::recomputed>(chunk);
        } else if (relu) {
          sum_rows.template operator()<detail::Mask::stored>(chunk);
        } else {
          sum_rows.template operator()<detail::Mask::none>(chunk);
        }
      }
    });
  }
  for (std::int64_t j = 0; j < c; ++j) {
    double sum_g = 0, sum_gx = 0;
    for (std::int64_t chunk = 0; needs_sums && chunk < chunks.count; ++chunk) {
      sum_g += totals[chunk * 2 * c + j];
      sum_gx += totals[chunk * 2 * c + c + j];
    }
    double const inverse_deviation = static_cast<double>(invstd[j]);
    double const per_row = batch_statistics ? 1.0 / static_cast<double>(rows) : 0.0;
    mean_g[j] = static_cast<Acc>(sum_g * per_row);
    slope[j] = static_cast<Acc>(sum_gx * inverse_deviation * inverse_deviation * per_row);
    if (dweight != nullptr) dweight[j] = convert<GW>(sum_gx * inverse_deviation);
    if (dbias != nullptr) dbias[j] = convert<GW>(sum_g);
  }

  auto const run = [&](auto row_kernel) {
    parallel_for(stream, rows, detail::row_grain(c), [=](std::int64_t row, std::int64_t end) {
      for (; row < end; ++row) {
        std::int64_t const at = row * c;
        row_kernel(c, x + at, y + row * y_stride, dy + row * y_stride, mean, scale, shift, mean_g, slope,
                   dx == nullptr ? nullptr : dx + at, dresidual == nullptr ? nullptr : dresidual + at);
      }
    });
  };
  auto const choose_outputs = [&]<detail::Mask mask>() {
    if (dx != nullptr && dresidual != nullptr) {
      run([](auto... a) { detail::gradient_row<mask, true, true>(a...); });
    } else if (dx != nullptr) {
      run([](auto... a) { detail::gradient_row<mask, true, false>(a...); });
    } else if (dresidual != nullptr) {
      run([](auto... a) { detail::gradient_row<mask, false, true>(a...); });
    }
  };
  if (recomputes) {
    choose_outputs.template operator()<detail::Mask::recomputed>();
  } else if (relu) {
    choose_outputs.template operator()<detail::Mask::stored>();
  } else {
    choose_outputs.template operator()<detail::Mask::none>();
  }
}

}  // namespace mixprec::inline MIXPREC_ABI::cpu
