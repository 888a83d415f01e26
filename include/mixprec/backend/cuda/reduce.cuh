// SPDX-License-Identifier: Apache-2.0
// Sums: over rows (bias gradients), over everything (mean and sum), and their backward, a broadcast scalar.
#pragma once

#include <mixprec/backend/cuda/elementwise.cuh>
#include <mixprec/backend/cuda/reduction.cuh>

namespace mixprec::inline MIXPREC_ABI::cuda {

namespace detail {

inline constexpr int column_sum_unroll = 4;

template <int W, class X, class Y>
__global__ void __launch_bounds__(column_threads)
    column_sum_kernel(ColumnTiling tiling, std::int64_t rows, std::int64_t cols, X const* x, Y* y, float* partials,
                      std::uint32_t* counters) {
  ColumnPosition const at = column_position<W>(tiling, rows);
  float sum[1][W] = {};
  if (at.channel < cols) {
    for (std::int64_t row = at.row; row < at.end; row += at.lanes * column_sum_unroll) {
      Vector<X, W> in[column_sum_unroll];
#pragma unroll
      for (int u = 0; u < column_sum_unroll; ++u) {
        std::int64_t const r = row + u * at.lanes;
        if (r < at.end) in[u] = load<W>(x + r * cols + at.channel);
      }
#pragma unroll
      for (int u = 0; u < column_sum_unroll; ++u) {
        if (row + u * at.lanes >= at.end) break;
#pragma unroll
        for (int j = 0; j < W; ++j) sum[0][j] += convert<float>(in[u].element[j]);
      }
    }
  }
  int const channels = tiling.vectors() * W;
  float* const slice_partials = partials + std::int64_t{blockIdx.x} * tiling.splits * channels;
  float total[1];
  if (merge_lanes(tiling.vectors(), sum, total)) {
    slice_partials[std::int64_t{blockIdx.y} * channels + threadIdx.x] = total[0];
  }
  if (!last_block(counters + blockIdx.x, tiling.splits)) return;
  auto const add = [=](int split, int channel, float(&into)[1]) {
    into[0] += load_shared_result(slice_partials + std::int64_t{split} * channels + channel);
  };
  std::int64_t const column = std::int64_t{blockIdx.x} * channels + threadIdx.x;
  if (merge_splits(channels, tiling.splits, add, total) && column < cols) y[column] = convert<Y>(total[0]);
}

template <int W, class X, class Y>
void column_sum_with(Stream& stream, std::int64_t rows, std::int64_t cols, X const* x, Y* y) {
  ColumnTiling const tiling = tile_columns<W>(stream, rows, cols, column_sum_unroll);
  std::uint32_t* const counters = stream.attached<Counters>().data();
  auto const partials = static_cast<float*>(
      stream.scratch(sizeof(float) * static_cast<std::size_t>(tiling.slices) * tiling.splits * tiling.vectors() * W));
  launch(stream, "column_sum", tiling.grid(), column_threads, column_sum_kernel<W, X, Y>, tiling, rows, cols, x, y,
         partials, counters);
}

inline constexpr int total_threads = 512, total_unroll = 4;

/// A total over [0, n): term.template over<W>(i) is the sum over elements i to i + W. The result is factor * total.
template <int W, class Term, class Y>
__global__ void __launch_bounds__(total_threads)
    total_kernel(Term term, std::int64_t n, float factor, Y* y, float* partials, std::uint32_t* counter) {
  std::int64_t const vectors = n / W, stride = std::int64_t{gridDim.x} * blockDim.x;
  std::int64_t i = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  float sum[1] = {};
  if (i < n - vectors * W) sum[0] = term.template over<1>(vectors * W + i);
  for (; i + (total_unroll - 1) * stride < vectors; i += total_unroll * stride) {
#pragma unroll
    for (int u = 0; u < total_unroll; ++u) sum[0] += term.template over<W>((i + u * stride) * W);
  }
  for (; i < vectors; i += stride) sum[0] += term.template over<W>(i * W);
  grid_sum(sum, partials, counter, [=](float(&total)[1]) { y[0] = convert<Y>(factor * total[0]); });
}

template <int W, class Term, class Y>
void total(Stream& stream, char const* name, Term term, std::int64_t n, double factor, Y* y) {
  std::int64_t const wanted = divide_up(n / W, std::int64_t{total_threads} * total_unroll);
  std::int64_t const blocks = std::clamp<std::int64_t>(wanted, 1, std::int64_t{2} * stream.multiprocessors());
  std::uint32_t* const counter = stream.attached<Counters>().data();
  auto const partials = static_cast<float*>(stream.scratch(sizeof(float) * static_cast<std::size_t>(blocks)));
  launch(stream, name, static_cast<unsigned>(blocks), total_threads, total_kernel<W, Term, Y>, term, n,
         static_cast<float>(factor), y, partials, counter);
}

template <class X>
struct Elements {
  X const* x;
  template <int W>
  __device__ float over(std::int64_t i) const {
    Vector<X, W> const in = load<W>(x + i);
    float sum = 0.0f;
#pragma unroll
    for (int j = 0; j < W; ++j) sum += convert<float>(in.element[j]);
    return sum;
  }
};

template <class Y>
struct BroadcastScalar {
  Y const* dy;
  float factor;
  __device__ Constant ready() const { return {factor * convert<float>(*dy)}; }
};

}  // namespace detail

/// y[j] = sum over rows of x(row, j). Shapes: x (rows, cols), y (cols).
/// Precision: float partial sums in a fixed order, one rounding.
template <floating_dtype X, floating_dtype Y>
void column_sum(Stream& stream, std::int64_t rows, std::int64_t cols, X const* x, Y* y) {
  if (cols == 0) return;
  constexpr int width = detail::vector_width<X>;
  if (cols % width == 0) {
    detail::column_sum_with<width>(stream, rows, cols, x, y);
  } else {
    detail::column_sum_with<1>(stream, rows, cols, x, y);
  }
}

/// y[0] = factor * sum of x. Precision: float partial sums in a fixed order, one rounding.
template <floating_dtype X, floating_dtype Y>
void sum(Stream& stream, X const* x, std::int64_t n, double factor, Y* y) {
  detail::total<detail::vector_width<X>>(stream, "sum", detail::Elements<X>{x}, n, factor, y);
}

/// dx[i] = factor * dy[0]: the backward of `sum`.
template <floating_dtype Y, floating_dtype X>
void broadcast_scalar(Stream& stream, Y const* dy, double factor, X* dx, std::int64_t n) {
  detail::generate(stream, "broadcast_scalar", detail::BroadcastScalar<Y>{dy, static_cast<float>(factor)}, n, dx);
}

}  // namespace mixprec::inline MIXPREC_ABI::cuda
