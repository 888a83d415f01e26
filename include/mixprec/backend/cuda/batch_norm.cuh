// SPDX-License-Identifier: Apache-2.0
// Batch norm over (rows, channels): statistics in one launch, forward in one pass with the residual and ReLU folded in,
// backward in two launches.
#pragma once

#include <type_traits>

#include <mixprec/backend/cuda/reduction.cuh>
#include <mixprec/backend/cuda/relu.cuh>

namespace mixprec::inline MIXPREC_ABI::cuda {

namespace detail {

/// Rows that a thread has in flight, by the number of tensors that it reads.
inline constexpr int statistics_unroll = 4, apply_unroll = 2;

/// What batch_norm_statistics writes, and how.
struct StatisticsOutput {
  float *mean, *invstd, *running_mean, *running_var;
  float eps, momentum;
};

// Rounding can leave a sum of squares just below zero. NaN passes.
__device__ inline float not_negative(float squares) { return squares < 0.0f ? 0.0f : squares; }

/// Sums are taken about the block's first row, so that squares do not cancel; a block leaves its mean and its sum of
/// squared deviations. The last block of a slice merges them about the first block's mean.
template <int W, class X>
__global__ void __launch_bounds__(column_threads, 2)
    batch_norm_statistics_kernel(ColumnTiling tiling, std::int64_t rows, std::int64_t c, X const* x,
                                 StatisticsOutput output, float2* partials, std::uint32_t* counters) {
  ColumnPosition const at = column_position<W>(tiling, rows);
  std::int64_t const begin = std::int64_t{blockIdx.y} * tiling.rows_per_split;
  float sums[2][W] = {};
  if (at.channel < c && at.row < at.end) {
    float shift[W];
    Vector<X, W> const first = load<W>(x + begin * c + at.channel);
#pragma unroll
    for (int j = 0; j < W; ++j) shift[j] = convert<float>(first.element[j]);
    for (std::int64_t row = at.row; row < at.end; row += at.lanes * statistics_unroll) {
      Vector<X, W> in[statistics_unroll];
#pragma unroll
      for (int u = 0; u < statistics_unroll; ++u) {
        std::int64_t const r = row + u * at.lanes;
        if (r < at.end) in[u] = load<W>(x + r * c + at.channel);
      }
#pragma unroll
      for (int u = 0; u < statistics_unroll; ++u) {
        if (row + u * at.lanes >= at.end) break;
#pragma unroll
        for (int j = 0; j < W; ++j) {
          float const deviation = convert<float>(in[u].element[j]) - shift[j];
          sums[0][j] += deviation;
          sums[1][j] = fmaf(deviation, deviation, sums[1][j]);
        }
      }
    }
  }

  int const channels = tiling.vectors() * W;
  std::int64_t const channel = std::int64_t{blockIdx.x} * channels + threadIdx.x;
  float2* const slice_partials = partials + std::int64_t{blockIdx.x} * tiling.splits * channels;
  float total[2];
  if (merge_lanes(tiling.vectors(), sums, total) && channel < c && begin < rows) {
    float const count = static_cast<float>(at.end - begin);
    float const offset = total[0] / count;
    float const mean = convert<float>(x[begin * c + channel]) + offset;
    slice_partials[std::int64_t{blockIdx.y} * channels + threadIdx.x] =
        make_float2(mean, not_negative(total[1] - total[0] * offset));
  }
  if (!last_block(counters + blockIdx.x, tiling.splits)) return;

  int const slice_channel = static_cast<int>(threadIdx.x) & (channels - 1);
  bool const exists = std::int64_t{blockIdx.x} * channels + slice_channel < c && rows > 0;
  float const reference = exists ? load_shared_result(slice_partials + slice_channel).x : 0.0f;
  auto const add = [=](int split, int of_slice, float(&into)[2]) {
    if (!exists) return;
    float2 const part = load_shared_result(slice_partials + std::int64_t{split} * channels + of_slice);
    std::int64_t const left = rows - split * tiling.rows_per_split;
    float const count = static_cast<float>(left < tiling.rows_per_split ? left : tiling.rows_per_split);
    float const deviation = part.x - reference;
    into[0] = fmaf(count, deviation, into[0]);
    into[1] += fmaf(count * deviation, deviation, part.y);
  };
  if (!merge_splits(channels, tiling.splits, add, total) || channel >= c) return;
  float const count = static_cast<float>(rows);
  float const offset = total[0] / count;
  float const squares = not_negative(total[1] - total[0] * offset);
  float const mean = reference + offset;
  output.mean[channel] = mean;
  output.invstd[channel] = 1.0f / sqrtf(squares / count + output.eps);
  float const kept = 1.0f - output.momentum;
  if (output.running_mean != nullptr) {
    output.running_mean[channel] = kept * output.running_mean[channel] + output.momentum * mean;
  }
  if (output.running_var != nullptr) {
    float const unbiased = squares / static_cast<float>(rows - 1);
    output.running_var[channel] = kept * output.running_var[channel] + output.momentum * unbiased;
  }
}

struct InverseRoot {
  float eps;
  __device__ InverseRoot ready() const { return *this; }
  __device__ float operator()(float variance) const { return 1.0f / sqrtf(variance + eps); }
};

/// `Residual` is a template argument because the second tensor's registers cost the kernel without it half its rows in
/// flight.
template <int W, bool Residual, class X, class G, class Y>
__global__ void __launch_bounds__(column_threads, 1)
    batch_norm_forward_kernel(ColumnTiling tiling, std::int64_t rows, std::int64_t c, X const* x, float const* mean,
                              float const* invstd, G const* weight, G const* bias, X const* residual, bool relu, Y* y,
                              std::int64_t y_stride) {
  constexpr int unroll = Residual ? 2 : 4;
  ColumnPosition const at = column_position<W>(tiling, rows);
  if (at.channel >= c) return;
  Vector<float, W> const center = load<W>(mean + at.channel);
  float slope[W], intercept[W];
  {
    Vector<float, W> const inverse = load<W>(invstd + at.channel);
    Vector<G, W> const gain = load<W>(weight + at.channel), offset = load<W>(bias + at.channel);
#pragma unroll
    for (int j = 0; j < W; ++j) {
      slope[j] = inverse.element[j] * convert<float>(gain.element[j]);
      intercept[j] = convert<float>(offset.element[j]);
    }
  }
  for (std::int64_t row = at.row; row < at.end; row += at.lanes * unroll) {
    Vector<X, W> in[unroll], skip[unroll];
#pragma unroll
    for (int u = 0; u < unroll; ++u) {
      std::int64_t const r = row + u * at.lanes;
      if (r < at.end) {
        in[u] = load<W>(x + r * c + at.channel);
        if constexpr (Residual) skip[u] = load<W>(residual + r * c + at.channel);
      }
    }
#pragma unroll
    for (int u = 0; u < unroll; ++u) {
      std::int64_t const r = row + u * at.lanes;
      if (r >= at.end) break;
      Vector<Y, W> out;
#pragma unroll
      for (int j = 0; j < W; ++j) {
        float const deviation = convert<float>(in[u].element[j]) - center.element[j];
        Y rounded = convert<Y>(fmaf(deviation, slope[j], intercept[j]));
        if constexpr (Residual) rounded = convert<Y>(convert<float>(rounded) + convert<float>(skip[u].element[j]));
        out.element[j] = relu ? convert<Y>(rectified(convert<float>(rounded))) : rounded;
      }
      store<W>(y + r * y_stride + at.channel, out);
    }
  }
}

template <int W, class X, class G, class Y>
void batch_norm_forward_with(Stream& stream, std::int64_t rows, std::int64_t c, X const* x, float const* mean,
                             float const* invstd, G const* weight, G const* bias, X const* residual, bool relu, Y* y,
                             std::int64_t y_stride) {
  ColumnTiling const tiling = tile_columns<W>(stream, rows, c, apply_unroll);
  launch(
      stream, "batch_norm_forward", tiling.grid(), column_threads,
      residual == nullptr ? batch_norm_forward_kernel<W, false, X, G, Y> : batch_norm_forward_kernel<W, true, X, G, Y>,
      tiling, rows, c, x, mean, invstd, weight, bias, residual, relu, y, y_stride);
}

/// ReLU's gradient: dy where y is positive, else 0.
template <class Y, int W>
__device__ Vector<Y, W> masked_by(Vector<Y, W> const& y, Vector<Y, W> const& dy) {
  Vector<Y, W> g;
#pragma unroll
  for (int j = 0; j < W; ++j) g.element[j] = convert<float>(y.element[j]) > 0.0f ? dy.element[j] : Y{};
  return g;
}

/// Where backward finds the sign of relu's operand: nowhere (no relu), in y, or again from x, as forward rounds it.
enum class Mask { none, stored, recomputed };

/// The same expression as batch_norm_forward_kernel's, so that it rounds to the same sign; dy where it is positive.
template <class X, class Y, int W>
__device__ Vector<Y, W> masked_by_norm(Vector<X, W> const& x, float const (&center)[W], float const (&slope)[W],
                                       float const (&intercept)[W], Vector<Y, W> const& dy) {
  Vector<Y, W> g;
#pragma unroll
  for (int j = 0; j < W; ++j) {
    Y const y = convert<Y>(fmaf(convert<float>(x.element[j]) - center[j], slope[j], intercept[j]));
    g.element[j] = convert<float>(y) > 0.0f ? dy.element[j] : Y{};
  }
  return g;
}

/// Per-channel constants of the normalisation, in registers.
template <int W>
struct NormTerms {
  float center[W], slope[W], intercept[W];
};
template <int W, class G>
__device__ NormTerms<W> norm_terms(std::int64_t channel, float const* mean, float const* invstd, G const* weight,
                                   G const* bias) {
  NormTerms<W> terms;
  Vector<float, W> const center = load<W>(mean + channel), inverse = load<W>(invstd + channel);
  Vector<G, W> const gain = load<W>(weight + channel);
#pragma unroll
  for (int j = 0; j < W; ++j) {
    terms.center[j] = center.element[j];
    terms.slope[j] = inverse.element[j] * convert<float>(gain.element[j]);
    terms.intercept[j] = 0.0f;
  }
  if (bias != nullptr) {
    Vector<G, W> const offset = load<W>(bias + channel);
#pragma unroll
    for (int j = 0; j < W; ++j) terms.intercept[j] = convert<float>(offset.element[j]);
  }
  return terms;
}

/// Sums g and g * (x - mean) over rows. The last block of a slice writes the parameters' gradients and, for the second
/// pass, per channel (sum of g) / rows and invstd^2 * (sum of g * (x - mean)) / rows. `masked` is g or nullptr.
template <Mask mask, int W, class X, class Y, class G, class GW>
__global__ void __launch_bounds__(column_threads, 1)
    batch_norm_backward_sums_kernel(ColumnTiling tiling, std::int64_t rows, std::int64_t c, X const* x, Y const* y,
                                    Y const* dy, std::int64_t y_stride, float const* mean, float const* invstd,
                                    G const* weight, G const* bias, Y* masked, GW* dweight, GW* dbias, float2* terms,
                                    float2* partials, std::uint32_t* counters) {
  ColumnPosition const at = column_position<W>(tiling, rows);
  float sums[2][W] = {};
  if (at.channel < c) {
    constexpr int unroll = mask == Mask::stored ? 2 : 4;
    NormTerms<W> const norm = norm_terms<W>(at.channel, mean, invstd, weight, bias);
    for (std::int64_t row = at.row; row < at.end; row += at.lanes * unroll) {
      Vector<X, W> in[unroll];
      Vector<Y, W> gradient[unroll], result[unroll];
#pragma unroll
      for (int u = 0; u < unroll; ++u) {
        std::int64_t const r = row + u * at.lanes;
        if (r < at.end) in[u] = load<W>(x + r * c + at.channel);
        if (r < at.end) gradient[u] = load<W>(dy + r * y_stride + at.channel);
        if (r < at.end && mask == Mask::stored) result[u] = load<W>(y + r * y_stride + at.channel);
      }
#pragma unroll
      for (int u = 0; u < unroll; ++u) {
        std::int64_t const r = row + u * at.lanes;
        if (r >= at.end) break;
        if constexpr (mask == Mask::stored) gradient[u] = masked_by(result[u], gradient[u]);
        if constexpr (mask == Mask::recomputed) {
          gradient[u] = masked_by_norm(in[u], norm.center, norm.slope, norm.intercept, gradient[u]);
        }
#pragma unroll
        for (int j = 0; j < W; ++j) {
          float const g = convert<float>(gradient[u].element[j]);
          sums[0][j] += g;
          sums[1][j] = fmaf(g, convert<float>(in[u].element[j]) - norm.center[j], sums[1][j]);
        }
        if (masked != nullptr) store<W>(masked + r * c + at.channel, gradient[u]);
      }
    }
  }

  int const channels = tiling.vectors() * W;
  float2* const slice_partials = partials + std::int64_t{blockIdx.x} * tiling.splits * channels;
  float total[2];
  if (merge_lanes(tiling.vectors(), sums, total)) {
    slice_partials[std::int64_t{blockIdx.y} * channels + threadIdx.x] = make_float2(total[0], total[1]);
  }
  if (!last_block(counters + blockIdx.x, tiling.splits)) return;

  auto const add = [=](int split, int channel, float(&into)[2]) {
    float2 const part = load_shared_result(slice_partials + std::int64_t{split} * channels + channel);
    into[0] += part.x;
    into[1] += part.y;
  };
  std::int64_t const channel = std::int64_t{blockIdx.x} * channels + threadIdx.x;
  if (!merge_splits(channels, tiling.splits, add, total) || channel >= c) return;
  float const inverse = invstd[channel], count = static_cast<float>(rows);
  if (dbias != nullptr) dbias[channel] = convert<GW>(total[0]);
  if (dweight != nullptr) dweight[channel] = convert<GW>(total[1] * inverse);
  terms[channel] = make_float2(total[0] / count, total[1] * inverse * inverse / count);
}

/// dx = weight * invstd * (g - terms.x - (x - mean) * terms.y), or weight * invstd * g where `terms` is nullptr; and g
/// itself where `dresidual` is given.
template <Mask mask, int W, class X, class Y, class G>
__global__ void __launch_bounds__(column_threads, 1)
    batch_norm_backward_apply_kernel(ColumnTiling tiling, std::int64_t rows, std::int64_t c, X const* x, Y const* y,
                                     Y const* dy, std::int64_t y_stride, float const* mean, float const* invstd,
                                     G const* weight, G const* bias, float2 const* terms, X* dx, X* dresidual) {
  ColumnPosition const at = column_position<W>(tiling, rows);
  if (at.channel >= c) return;
  NormTerms<W> const norm = norm_terms<W>(at.channel, mean, invstd, weight, bias);
  float constant[W] = {}, linear[W] = {};
  if (terms != nullptr) {
    Vector<float2, W> const both = load<W>(terms + at.channel);
#pragma unroll
    for (int j = 0; j < W; ++j) {
      constant[j] = both.element[j].x;
      linear[j] = both.element[j].y;
    }
  }
  for (std::int64_t row = at.row; row < at.end; row += at.lanes * apply_unroll) {
    Vector<X, W> in[apply_unroll];
    Vector<Y, W> gradient[apply_unroll], result[apply_unroll];
#pragma unroll
    for (int u = 0; u < apply_unroll; ++u) {
      std::int64_t const r = row + u * at.lanes;
      if (r < at.end) gradient[u] = load<W>(dy + r * y_stride + at.channel);
      if (r < at.end && (terms != nullptr || mask == Mask::recomputed)) in[u] = load<W>(x + r * c + at.channel);
      if (r < at.end && mask == Mask::stored) result[u] = load<W>(y + r * y_stride + at.channel);
    }
#pragma unroll
    for (int u = 0; u < apply_unroll; ++u) {
      std::int64_t const r = row + u * at.lanes;
      if (r >= at.end) break;
      if constexpr (mask == Mask::stored) gradient[u] = masked_by(result[u], gradient[u]);
      if constexpr (mask == Mask::recomputed) {
        gradient[u] = masked_by_norm(in[u], norm.center, norm.slope, norm.intercept, gradient[u]);
      }
      Vector<X, W> out, passed;
#pragma unroll
      for (int j = 0; j < W; ++j) {
        float g = convert<float>(gradient[u].element[j]);
        passed.element[j] = convert<X>(g);
        if (terms != nullptr) {
          g = fmaf(norm.center[j] - convert<float>(in[u].element[j]), linear[j], g - constant[j]);
        }
        out.element[j] = convert<X>(norm.slope[j] * g);
      }
      if (dx != nullptr) store<W>(dx + r * c + at.channel, out);
      if (dresidual != nullptr) store<W>(dresidual + r * c + at.channel, passed);
    }
  }
}

template <Mask mask, int W, class X, class Y, class G, class GW>
void batch_norm_backward_with(Stream& stream, std::int64_t rows, std::int64_t c, X const* x, Y const* y, Y const* dy,
                              std::int64_t y_stride, float const* mean, float const* invstd, G const* weight,
                              G const* bias, bool batch_statistics, X* dx, X* dresidual, GW* dweight, GW* dbias) {
  ColumnTiling const tiling = tile_columns<W>(stream, rows, c, apply_unroll);
  bool const centered = batch_statistics && dx != nullptr;
  float2* terms = nullptr;
  Y* masked = nullptr;
  if (centered || dweight != nullptr || dbias != nullptr) {
    std::size_t const padded = static_cast<std::size_t>(tiling.slices) * tiling.vectors() * W;
    std::uint32_t* const counters = stream.attached<Counters>().data();
    terms = static_cast<float2*>(stream.scratch(sizeof(float2) * padded * (1 + tiling.splits)));
    // The first pass has g in registers anyway: where it may store it as it is, the second pass reads g alone.
    if constexpr (std::is_same_v<X, Y>) masked = dresidual;
    launch(stream, "batch_norm_backward (sums)", tiling.grid(), column_threads,
           batch_norm_backward_sums_kernel<mask, W, X, Y, G, GW>, tiling, rows, c, x, y, dy, y_stride, mean, invstd,
           weight, bias, masked, dweight, dbias, terms, terms + padded, counters);
  }
  if (dx == nullptr && (dresidual == nullptr || masked != nullptr)) return;
  if (masked != nullptr) {
    launch(stream, "batch_norm_backward (apply)", tiling.grid(), column_threads,
           batch_norm_backward_apply_kernel<Mask::none, W, X, Y, G>, tiling, rows, c, x, nullptr, masked, c, mean,
           invstd, weight, bias, centered ? terms : nullptr, dx, nullptr);
  } else {
    launch(stream, "batch_norm_backward (apply)", tiling.grid(), column_threads,
           batch_norm_backward_apply_kernel<mask, W, X, Y, G>, tiling, rows, c, x, y, dy, y_stride, mean, invstd,
           weight, bias, centered ? terms : nullptr, dx, dresidual);
  }
}

template <int W, class X>
void batch_norm_statistics_with(Stream& stream, std::int64_t rows, std::int64_t c, X const* x,
                                StatisticsOutput const& output) {
  ColumnTiling const tiling = tile_columns<W>(stream, rows, c, statistics_unroll);
  std::uint32_t* const counters = stream.attached<Counters>().data();
  auto const partials = static_cast<float2*>(
      stream.scratch(sizeof(float2) * static_cast<std::size_t>(tiling.slices) * tiling.splits * tiling.vectors() * W));
  launch(stream, "batch_norm_statistics", tiling.grid(), column_threads, batch_norm_statistics_kernel<W, X>, tiling,
         rows, c, x, output, partials, counters);
}

}  // namespace detail

/// Mean and 1 / sqrt(biased variance + eps) per channel. Where running statistics are given, running = (1 - momentum) *
/// running + momentum * batch, the variance unbiased. Shapes: x (rows, c), all others (c).
/// Precision: float sums about a nearby value, so that a large mean costs no digits; fixed order.
template <floating_dtype X>
void batch_norm_statistics(Stream& stream, std::int64_t rows, std::int64_t c, X const* x, double eps, float* mean,
                           float* invstd, float* running_mean, float* running_var, double momentum) {
  if (c == 0) return;
  detail::StatisticsOutput const output{
      mean, invstd, running_mean, running_var, static_cast<float>(eps), static_cast<float>(momentum)};
  constexpr int width = detail::vector_width<X>;
  if (c % width == 0) {
    detail::batch_norm_statistics_with<width>(stream, rows, c, x, output);
  } else {
    detail::batch_norm_statistics_with<1>(stream, rows, c, x, output);
  }
}

/// invstd = 1 / sqrt(running_var + eps), for evaluation.
inline void batch_norm_invstd(Stream& stream, std::int64_t c, float const* running_var, double eps, float* invstd) {
  detail::map(stream, "batch_norm_invstd", detail::InverseRoot{static_cast<float>(eps)}, c, running_var, invstd);
}

/// y = (x - mean) * invstd * weight + bias, then + residual where one is given, then ReLU where `relu`.
/// Shapes: x, residual, y (rows, c); y's rows lie `y_stride` elements apart, 0: c. Precision: float; rounded to Y after
/// each of the three stages, so that the fused form equals the three ops bit for bit.
template <floating_dtype X, floating_dtype G, floating_dtype Y>
void batch_norm_forward(Stream& stream, std::int64_t rows, std::int64_t c, X const* x, float const* mean,
                        float const* invstd, G const* weight, G const* bias, std::type_identity_t<X> const* residual,
                        bool relu, Y* y, std::int64_t y_stride = 0) {
  if (rows == 0 || c == 0) return;
  if (y_stride == 0) y_stride = c;
  constexpr int width = detail::vector_width<X, Y>;
  if (detail::takes_vectors<width>(c, y_stride, y)) {
    detail::batch_norm_forward_with<width>(stream, rows, c, x, mean, invstd, weight, bias, residual, relu, y, y_stride);
  } else {
    detail::batch_norm_forward_with<1>(stream, rows, c, x, mean, invstd, weight, bias, residual, relu, y, y_stride);
  }
}

/// Gradients of batch_norm_forward with g = relu ? (y > 0 ? dy : 0) : dy: dbias = sum of g, dweight = sum of g * xhat,
/// dresidual = g, and dx = weight * invstd * (g - dbias / rows - xhat * dweight / rows), or weight * invstd * g where
/// mean and invstd are not the batch's. Every output may be nullptr; so may y where `relu` is false or a `bias`
/// is given, which says that y is relu of the batch norm alone, without a residual: its sign is then found again from
/// x, which saves reading y twice. The rows of y and dy lie `y_stride` elements apart, 0: c. Precision: float, sums in
/// a fixed order, one rounding each.
template <floating_dtype X, floating_dtype Y, floating_dtype G, floating_dtype GW>
void batch_norm_backward(Stream& stream, std::int64_t rows, std::int64_t c, X const* x,
                         std::type_identity_t<Y> const* y, Y const* dy, float const* mean, float const* invstd,
                         G const* weight, std::type_identity_t<G> const* bias, bool relu, bool batch_statistics,
                         std::type_identity_t<X>* dx, std::type_identity_t<X>* dresidual, GW* dweight,
                         std::type_identity_t<GW>* dbias, std::int64_t y_stride = 0) {
  if (c == 0) return;
  if (y_stride == 0) y_stride = c;
  auto const run = [&]<detail::Mask mask, int width>() {
    detail::batch_norm_backward_with<mask, width>(stream, rows, c, x, y, dy, y_stride, mean, invstd, weight, bias,
                                                  batch_statistics, dx, dresidual, dweight, dbias);
  };
  auto const choose_width = [&]<detail::Mask mask>() {
    constexpr int width = detail::vector_width<X, Y>;
    detail::takes_vectors<width>(c, y_stride, dy) && detail::takes_vectors<width>(c, y_stride, y)
        ? run.template operator()<mask, width>()
        : run.template operator()<mask, 1>();
  };
  if (!relu) {
    choose_width.template operator()<detail::Mask::none>();
  } else if (bias == nullptr) {
    choose_width.template operator()<detail::Mask::stored>();
  } else {
    choose_width.template operator()<detail::Mask::recomputed>();
  }
}

}  // namespace mixprec::inline MIXPREC_ABI::cuda
