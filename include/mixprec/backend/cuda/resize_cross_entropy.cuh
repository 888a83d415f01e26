// SPDX-License-Identifier: Apache-2.0
// Cross-entropy at label resolution from logits of a lower one, one launch forward and one back: what lies between is
// computed twice in registers, never stored.
#pragma once

#include <cmath>  // HUGE_VALF
#include <type_traits>

#include <mixprec/backend/cuda/loss.cuh>
#include <mixprec/backend/cuda/resize_tile.cuh>

namespace mixprec::inline MIXPREC_ABI::cuda {

namespace detail {

inline constexpr float log2_of_e = 1.44269504088896340736f;

/// 2^x in one instruction: two units in the last place, results below 2^-126 are zero.
__device__ inline float power_of_two(float x) {
  float result;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(x));
  return result;
}

/// The log-sum-exp of each output, and the sums of the loss.
struct ResizeCrossEntropyForward {
  struct State {
    float maximum, sum, logit;  // sum of exp(logits - maximum); the label's logit
    std::int32_t label;
  };
  struct Totals {
    float value[2];
  };
  std::int32_t const* target;
  float const* class_weight;
  std::int32_t classes, ignore_index;
  float *lse, *total_weight, *loss, *partials;
  std::uint32_t* counter;

  // The maximum starts low enough for every logit and high enough to be multiplied by log2(e).
  __device__ State begin(std::int64_t output, bool exists) const {
    return {-2e38f, 0.0f, 0.0f, exists ? target[output] : ignore_index};
  }
  __device__ bool counts(State const& state) const { return state.label != ignore_index; }
  template <int N>
  __device__ void take(State& state, float const (&value)[N], int first) const {
    float highest = state.maximum;
#pragma unroll
    for (int j = 0; j < N; ++j) highest = fmaxf(highest, value[j]);
    state.sum *= power_of_two((state.maximum - highest) * log2_of_e);
    state.maximum = highest;
    float const scaled = highest * log2_of_e;
    float sum = 0.0f;
#pragma unroll
    for (int j = 0; j < N; ++j) sum += power_of_two(fmaf(value[j], log2_of_e, -scaled));
    state.sum += sum;
    int const at = state.label - first;
    if (static_cast<unsigned>(at) < static_cast<unsigned>(N)) {
#pragma unroll
      for (int j = 0; j < N; ++j) state.logit = at == j ? value[j] : state.logit;
    }
  }
  __device__ void end(std::int64_t output, State const& state, Totals& totals) const {
    bool const ignored = state.label == ignore_index;
    float const log_sum = logf(state.sum);
    lse[output] = ignored ? 0.0f : state.maximum + log_sum;
    float const weight = target_weight(state.label, classes, class_weight, ignore_index);
    totals.value[0] += weight;
    if (!ignored) totals.value[1] = fmaf(weight, state.maximum - state.logit + log_sum, totals.value[1]);
  }
  __device__ void conclude(Totals& totals) const {
    float *const to_weight = total_weight, *const to_loss = loss;
    grid_sum(totals.value, partials, counter, [=](float(&total)[2]) {
      to_weight[0] = total[0];
      to_loss[0] = total[1] / total[0];
    });
  }
};

inline constexpr int resize_gradient_columns = 8;                          // of the input, for each block
inline constexpr int resize_gradient_warps = resize_gradient_columns + 1;  // a gap each, also the one left of the first
inline constexpr int resize_gradient_threads = 32 * resize_gradient_warps;

/// How the input's gradient is shared out: blocks have a strip of rows of eight columns of one image.
struct ResizeGradientTiling {
  std::int64_t columns, strips;  // blocks side by side, and one below another
  int rows;                      // of a strip
};

/// What backward needs of one output: it is the same for all classes.
struct ResizedLabel {
  float lse;     // in powers of two; +inf where the output does not count
  float factor;  // weight * dloss / total weight
  float right;   // weight of the column to the right
  int label;
};

/// A warp walks down a gap between two columns of the input; its lanes have the classes. The gap's outputs add to the
/// input pixels at its four corners: the sums of the upper two are complete when a row of gaps is done, and the lower
/// two become the next row's upper ones. What the gap adds to its right column goes to the neighbour's warp.
template <int V, class X>
__global__ void __launch_bounds__(resize_gradient_threads, 2)
    resize_cross_entropy_backward_kernel(ResizeGradientTiling tiling, ResizeGeometry g, X const* logits,
                                         std::int32_t const* target, float const* class_weight,
                                         std::int32_t ignore_index, float const* lse, float const* total_weight,
                                         float const* dloss, X* dlogits) {
  __shared__ ResizedLabel staged[resize_gradient_warps][32];
  __shared__ float to_the_right[2][resize_gradient_warps][32 * V];
  int const lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  Split const by_column = split(blockIdx.x, tiling.columns);
  Split const by_strip = split(by_column.quotient, tiling.strips);
  std::int64_t const n = by_strip.quotient;
  std::int64_t const first_row = by_strip.remainder * tiling.rows;
  std::int64_t const end_row = min(first_row + tiling.rows, g.rows.in);
  std::int64_t const column = by_column.remainder * resize_gradient_columns + warp - 1;
  bool const exists = column >= 0 && column < g.columns.in;
  int const q_begin = exists ? static_cast<int>(g.columns.begin(column)) : 0;
  int const q_end = exists ? static_cast<int>(g.columns.begin(column + 1)) : 0;
  int const first_class = static_cast<int>(blockIdx.y) * 32 * V + lane;
  int const classes = static_cast<int>(g.c);
  float const scale = *dloss / *total_weight;

  std::int64_t const left_column = min(max(column, std::int64_t{0}), g.columns.in - 1);
  std::int64_t const right_column = min(left_column + 1, g.columns.in - 1);
  auto const read = [&](std::int64_t row, std::int64_t at, float(&value)[V]) {
    X const* const from = logits + ((n * g.rows.in + row) * g.columns.in + at) * g.c;
#pragma unroll
    for (int v = 0; v < V; ++v) {
      // Lanes without a class compute with 0 and store nothing.
      value[v] = first_class + 32 * v < classes ? convert<float>(from[first_class + 32 * v]) : 0.0f;
    }
  };
  float top_left[V], top_right[V], bottom_left[V], bottom_right[V];              // logits
  float above_left[V], above_right[V], below_left[V] = {}, below_right[V] = {};  // gradients
  std::int64_t gap = first_row > 0 ? first_row - 1 : 0;
  read(gap, left_column, bottom_left);
  read(gap, right_column, bottom_right);
  for (; gap < end_row; ++gap) {
#pragma unroll
    for (int v = 0; v < V; ++v) {
      top_left[v] = bottom_left[v], top_right[v] = bottom_right[v];
      above_left[v] = below_left[v], above_right[v] = below_right[v];
      below_left[v] = below_right[v] = 0.0f;
    }
    std::int64_t const next = min(gap + 1, g.rows.in - 1);
    read(next, left_column, bottom_left);
    read(next, right_column, bottom_right);
    int const p_end = static_cast<int>(g.rows.begin(gap + 1));
    // Batches of up to 32 outputs: whole rows of the gap where they fit.
    int const width = min(q_end - q_begin, 32), height = width > 0 ? 32 / width : 0;
    for (int p = static_cast<int>(g.rows.begin(gap)); p < p_end && height > 0; p += height) {
      int const rows = min(height, p_end - p);
      for (int q = q_begin; q < q_end; q += 32) {
        int const columns = min(q_end - q, 32);
        ResizedLabel mine{HUGE_VALF, 0.0f, 0.0f, -1};
        int const row_of = lane / columns;
        if (lane < rows * columns) {
          int const at_column = q + lane - row_of * columns;
          std::int64_t const at = (n * g.rows.out + p + row_of) * g.columns.out + at_column;
          std::int32_t const label = target[at];
          if (label != ignore_index) {
            mine.lse = lse[at] * log2_of_e;
            mine.factor = target_weight(label, classes, class_weight, ignore_index) * scale;
            mine.label = label;
          }
          mine.right = g.columns.template fraction<float>(g.columns.position(at_column) - column * g.columns.unit);
        }
        if (!__any_sync(~0u, mine.lse != HUGE_VALF)) continue;
        __syncwarp();  // the last batch's readers are done
        staged[warp][lane] = mine;
        __syncwarp();
        for (int row = 0; row < rows; ++row) {
          float const down = g.rows.template fraction<float>(g.rows.position(p + row) - gap * g.rows.unit);
          float base[V], slope[V], all[V] = {}, right[V] = {};
#pragma unroll
          for (int v = 0; v < V; ++v) {
            base[v] = lerp(top_left[v], bottom_left[v], down);
            slope[v] = lerp(top_right[v], bottom_right[v], down) - base[v];
          }
#pragma unroll 4
          for (int i = row * columns; i < (row + 1) * columns; ++i) {
            ResizedLabel const at = staged[warp][i];
            float const to_right = at.factor * at.right;
            int const label = at.label - first_class;
#pragma unroll
            for (int v = 0; v < V; ++v) {
              float gradient = power_of_two(fmaf(fmaf(at.right, slope[v], base[v]), log2_of_e, -at.lse));
              if (label == 32 * v) gradient -= 1.0f;
              all[v] = fmaf(at.factor, gradient, all[v]);
              right[v] = fmaf(to_right, gradient, right[v]);
            }
          }
#pragma unroll
          for (int v = 0; v < V; ++v) {
            float const left = all[v] - right[v];
            above_left[v] = fmaf(1.0f - down, left, above_left[v]);
            above_right[v] = fmaf(1.0f - down, right[v], above_right[v]);
            below_left[v] = fmaf(down, left, below_left[v]);
            below_right[v] = fmaf(down, right[v], below_right[v]);
          }
        }
      }
    }
    if (gap < first_row) continue;  // the row above belongs to another block
    // Two buffers in turns: a warp that is a row ahead does not write what its neighbour still reads.
    auto& handed_on = to_the_right[gap & 1];
#pragma unroll
    for (int v = 0; v < V; ++v) handed_on[warp][32 * v + lane] = above_right[v];
    __syncthreads();
    if (warp == 0 || !exists) continue;
    X* const out = dlogits + ((n * g.rows.in + gap) * g.columns.in + column) * g.c;
#pragma unroll
    for (int v = 0; v < V; ++v) {
      int const at = first_class + 32 * v;
      if (at < classes) out[at] = convert<X>(handed_on[warp - 1][32 * v + lane] + above_left[v]);
    }
  }
}

template <int V, class X, class... Arguments>
void resize_cross_entropy_backward_with(Stream& stream, ResizeGeometry const& g, Arguments const&... arguments) {
  ResizeGradientTiling tiling{divide_up(g.columns.in, resize_gradient_columns), 0, 16};
  auto const blocks = [&] { return g.n * tiling.columns * divide_up(g.rows.in, tiling.rows); };
  // Short strips where there is little to do: each computes one row of gaps more than it has rows.
  while (tiling.rows > 2 && blocks() < 8 * stream.multiprocessors()) tiling.rows /= 2;
  tiling.strips = divide_up(g.rows.in, tiling.rows);
  char const* const name = "resize_cross_entropy_backward";
  dim3 const grid(grid_extent(name, blocks()), static_cast<unsigned>(divide_up(g.c, 32 * V)));
  launch(stream, name, grid, resize_gradient_threads, resize_cross_entropy_backward_kernel<V, X>, tiling, g,
         arguments...);
}

}  // namespace detail

/// cross_entropy_forward of resize_forward(logits), which is not stored and not rounded. `lse` is the log-sum-exp of
/// each output pixel, 0 where the target is `ignore_index`. A target that is no class gives a loss of NaN.
/// Shapes: logits (N,H,W,C), target and lse (N,P,Q), total_weight and loss (1); class_weight (C) or nullptr.
/// Precision: float, sums in a fixed order. Logits are finite: between two -inf lies NaN.
template <floating_dtype X>
void resize_cross_entropy_forward(Stream& stream, ResizeGeometry const& g, X const* logits, std::int32_t const* target,
                                  float const* class_weight, std::int32_t ignore_index, float* lse, float* total_weight,
                                  float* loss) {
  unsigned const blocks = detail::resize_blocks<X>(stream, g);
  std::uint32_t* const counter = stream.attached<detail::Counters>().data();
  auto const partials = static_cast<float*>(stream.scratch(2 * sizeof(float) * blocks));
  detail::for_each_resized(stream, "resize_cross_entropy_forward", g, blocks, logits,
                           detail::ResizeCrossEntropyForward{target, class_weight, static_cast<std::int32_t>(g.c),
                                                             ignore_index, lse, total_weight, loss, partials, counter});
}

/// dlogits = for each input the sum over the outputs that it touches of its weight there times
/// (softmax - onehot(target)) * weight[target] * dloss / total_weight; ignored pixels add nothing.
/// Precision: float sums in an order that depends on the extents alone, one rounding.
template <floating_dtype X>
void resize_cross_entropy_backward(Stream& stream, ResizeGeometry const& g, X const* logits, std::int32_t const* target,
                                   float const* class_weight, std::int32_t ignore_index, float const* lse,
                                   float const* total_weight, float const* dloss, X* dlogits) {
  if (g.inputs() == 0) return;
  auto const run = [&]<int V>(std::integral_constant<int, V>) {
    detail::resize_cross_entropy_backward_with<V, X>(stream, g, logits, target, class_weight, ignore_index, lse,
                                                     total_weight, dloss, dlogits);
  };
  if (g.c <= 32) {
    run(std::integral_constant<int, 1>{});
  } else if (g.c <= 96) {
    run(std::integral_constant<int, 3>{});
  } else {
    run(std::integral_constant<int, 5>{});
  }
}

}  // namespace mixprec::inline MIXPREC_ABI::cuda
