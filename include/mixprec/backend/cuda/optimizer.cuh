// SPDX-License-Identifier: Apache-2.0
// The loss scaler's and the optimizers' kernels on CUDA. Their arithmetic is in backend/optimizer_math.hpp.
#pragma once

#include <algorithm>  // std::min, std::max
#include <cstdint>

#include <mixprec/backend/cuda/launch.cuh>
#include <mixprec/backend/cuda/reduction.cuh>
#include <mixprec/backend/cuda/stream.hpp>
#include <mixprec/backend/cuda/vector.cuh>
#include <mixprec/backend/optimizer_arguments.hpp>
#include <mixprec/backend/optimizer_math.hpp>
#include <mixprec/dtype/dtype.hpp>

namespace mixprec::inline MIXPREC_ABI::cuda {

namespace detail {

inline constexpr int optimizer_threads = 256;

/// The vectors of one block: contiguous, in whole warps, the same for every launch of the same size.
struct VectorRange {
  std::int64_t begin, end;
};
__device__ inline VectorRange vectors_of_block(std::int64_t vectors) {
  std::int64_t const groups = divide_up(vectors, 32);
  std::int64_t const begin = groups * blockIdx.x / gridDim.x * 32;
  std::int64_t const end = groups * (blockIdx.x + 1) / gridDim.x * 32;
  return {begin, end < vectors ? end : vectors};
}

/// Blocks of a launch over `vectors`: enough to fill the device, no more than have work.
inline unsigned blocks_for(Stream const& stream, std::int64_t vectors, int per_multiprocessor) {
  std::int64_t const wanted = divide_up(vectors, optimizer_threads);
  std::int64_t const most = std::int64_t{stream.multiprocessors()} * per_multiprocessor;
  return static_cast<unsigned>(std::max<std::int64_t>(1, std::min(wanted, most)));
}

// The two small kernels are templates because CUDA knows no inline kernels.
template <int = 0>
__global__ void begin_step_kernel(ScalerState* scaler, StepState* step) {
  begin_step_state(*scaler, *step);
}

template <int = 0>
__global__ void finish_step_kernel(ScalerSettings settings, ScheduleSettings schedule, EmaSettings ema,
                                   ScalerState* scaler, StepState* step) {
  finish_step_state(settings, schedule, ema, *scaler, *step);
}

/// Sum of `value` over the block, on thread 0, in a fixed order.
__device__ inline double block_total(double value) {
  __shared__ double of_warp[optimizer_threads / 32];
  for (int offset = 16; offset > 0; offset /= 2) value += __shfl_down_sync(~0u, value, offset);
  if (threadIdx.x % 32 == 0) of_warp[threadIdx.x / 32] = value;
  __syncthreads();
  if (threadIdx.x == 0) {
    for (int warp = 1; warp < optimizer_threads / 32; ++warp) value += of_warp[warp];
  }
  __syncthreads();
  return value;
}

template <bool Norm, class G>
__global__ void __launch_bounds__(optimizer_threads)
    check_gradients_kernel(G const* gradient, std::int64_t n, double* partials, std::uint32_t* counter,
                           ScalerState* scaler, StepState* step) {
  using A = accumulator_t<G>;
  constexpr int width = vector_width<G>;
  A const unscale = Norm ? A(inverse_scale(scaler->scale)) : A(1);
  bool finite = true;
  double sum = 0;
  VectorRange const range = vectors_of_block(n / width);
#pragma unroll 4
  for (std::int64_t at = range.begin + threadIdx.x; at < range.end; at += optimizer_threads) {
    Vector<G, width> const g = load<width>(gradient + at * width);
    A vector_sum = 0;
#pragma unroll
    for (int i = 0; i < width; ++i) {
      finite &= is_finite(g.element[i]);
      if constexpr (Norm) {
        A const value = convert<A>(g.element[i]) * unscale;
        vector_sum += value * value;
      }
    }
    sum += static_cast<double>(vector_sum);
  }
  if (blockIdx.x == 0) {
    std::int64_t const i = n / width * width + threadIdx.x;
    if (i < n) {
      finite &= is_finite(gradient[i]);
      double const value = static_cast<double>(convert<A>(gradient[i]) * unscale);
      sum += value * value;
    }
  }
  // Blocks that find something all write the same value.
  if (__syncthreads_or(!finite) != 0 && threadIdx.x == 0) scaler->found_inf = 1.0f;
  if constexpr (Norm) {
    sum = block_total(sum);
    if (threadIdx.x == 0) partials[blockIdx.x] = sum;
    // Which block comes last varies; the order in which it adds does not.
    if (!last_block(counter, static_cast<int>(gridDim.x))) return;
    double total = 0;
    for (unsigned i = threadIdx.x; i < gridDim.x; i += optimizer_threads) total += __ldcg(partials + i);
    total = block_total(total);
    if (threadIdx.x == 0) step->grad_norm_squared += total;
  }
}

/// Updates a segment. A skipped step returns before it reads or writes any parameter.
template <template <class> class RuleOf, int States, class Settings, class M, class G, class W>
__global__ void __launch_bounds__(optimizer_threads)
    update_kernel(Settings settings, Segment<M, G, W> segment, ScalerState const* scaler, StepState const* step) {
  using A = accumulator_t<M>;
  using Rule = RuleOf<A>;
  constexpr int width = vector_width<M, G, W>;
  static_assert(segment_alignment % width == 0, "mixprec: optimizer: a vector may not straddle two runs.");
  if (settings.check && scaler->found_inf > 0.0f) return;
  // One thread does the double arithmetic of the step's constants for its block.
  __shared__ Rule shared_rule;
  if (threadIdx.x == 0) shared_rule = Rule::make(settings, *scaler, *step);
  __syncthreads();
  Rule const rule = shared_rule;

  VectorRange const range = vectors_of_block(segment.size / width);
  std::int64_t at = (range.begin + threadIdx.x) * width;
  std::int64_t const end = range.end * width;
  if (at >= end) return;

  // Binary search for the run of this thread's first element; from there it only walks forward.
  std::int32_t current = 0;
  for (std::int32_t above = segment.run_count; above - current > 1;) {
    std::int32_t const middle = (current + above) / 2;
    (segment.runs[middle].begin <= at ? current : above) = middle;
  }
  typename Rule::Run run = rule.run(1.0, 1.0);
  bool reached = true;
  std::int64_t run_end = segment.size;
  auto const enter_run = [&] {
    run = rule.run(segment.runs[current].lr_multiplier, segment.runs[current].decay_multiplier);
    reached = segment.runs[current].reached;
    run_end = segment.runs[current].end;
  };
  if (segment.run_count > 0) enter_run();

  for (; at < end; at += optimizer_threads * width) {
    auto const gradient = load<width>(segment.gradient + at);
    auto parameter = load<width>(segment.master + at);
    Vector<M, width> state1{}, state2{};
    // Before the first step the states may hold anything: the rule starts them.
    if (States > 0 && !rule.first) state1 = load<width>(segment.state1 + at);
    if (States > 1 && !rule.first) state2 = load<width>(segment.state2 + at);
    if (at >= run_end) {
      do {
        ++current;
      } while (at >= segment.runs[current].end);
      enter_run();
    }
    if (reached) {
#pragma unroll
      for (int i = 0; i < width; ++i) {
        A value = convert<A>(parameter.element[i]);
        A first_state = convert<A>(state1.element[i]), second_state = convert<A>(state2.element[i]);
        rule.template update<States>(run, convert<A>(gradient.element[i]), value, first_state, second_state);
        parameter.element[i] = convert<M>(value);
        state1.element[i] = convert<M>(first_state);
        state2.element[i] = convert<M>(second_state);
      }
      store(segment.master + at, parameter);
      if constexpr (States > 0) store(segment.state1 + at, state1);
      if constexpr (States > 1) store(segment.state2 + at, state2);
      if (segment.working != nullptr) {
        Vector<W, width> working;
#pragma unroll
        for (int i = 0; i < width; ++i) working.element[i] = convert<W>(parameter.element[i]);
        store(segment.working + at, working);
      }
    }
    if (segment.ema != nullptr) {
      auto average = load<width>(segment.ema + at);
#pragma unroll
      for (int i = 0; i < width; ++i) {
        average.element[i] = convert<M>(
            interpolate<A>(convert<A>(average.element[i]), convert<A>(parameter.element[i]), rule.ema_weight));
      }
      store(segment.ema + at, average);
    }
  }
}

template <template <class> class RuleOf, int States, class Settings, class M, class G, class W>
void launch_update(Stream& stream, Settings const& settings, Segment<M, G, W> const& segment, ScalerState const* scaler,
                   StepState const* step, char const* name) {
  check_segment(segment);
  if (segment.size == 0) return;
  unsigned const blocks = blocks_for(stream, segment.size / vector_width<M, G, W>, 4);
  launch(stream, name, blocks, optimizer_threads, update_kernel<RuleOf, States, Settings, M, G, W>, settings, segment,
         scaler, step);
}

}  // namespace detail

/// Clears found_inf and the gradients' norm; the first kernel of a step. Sync: none, as for all kernels here.
inline void begin_step(Stream& stream, ScalerState* scaler, StepState* step) {
  detail::launch(stream, "begin_step", 1, 1, detail::begin_step_kernel<>, scaler, step);
}

/// Sets found_inf where an element of gradient (n) is not finite. With `norm` it adds the sum of (g / scale)^2 to
/// grad_norm_squared. Precision: g / scale and its squares in accumulator_t<G> within 16 bytes of gradients, the sum
/// of those in double, in a fixed order.
template <floating_dtype G>
void check_gradients(Stream& stream, G const* gradient, std::int64_t n, bool norm, ScalerState* scaler,
                     StepState* step) {
  if (n == 0) return;
  unsigned const blocks = detail::blocks_for(stream, n / detail::vector_width<G>, 8);
  double* partials = nullptr;
  std::uint32_t* counter = nullptr;
  if (norm) {
    partials = static_cast<double*>(stream.scratch(blocks * sizeof(double)));
    counter = stream.attached<detail::Counters>().data();
  }
  detail::launch(stream, "check_gradients", blocks, detail::optimizer_threads,
                 norm ? detail::check_gradients_kernel<true, G> : detail::check_gradients_kernel<false, G>, gradient, n,
                 partials, counter, scaler, step);
}

/// One SGD step over a segment: unscale, clip, decay, momentum, parameter, working copy and EMA in one pass; nothing
/// where the step is skipped. With max_norm, check_gradients(norm = true) runs first over all segments.
/// Precision: arithmetic in accumulator_t<M>; learning rates and multipliers are combined in double; the working copy
/// is rounded once.
template <class M, class G, class W>
void sgd_update(Stream& stream, SgdSettings const& settings, Segment<M, G, W> const& segment, ScalerState const* scaler,
                StepState const* step) {
  if (settings.momentum != 0.0) {
    detail::launch_update<SgdRule, 1>(stream, settings, segment, scaler, step, "sgd_update");
  } else {
    detail::launch_update<SgdRule, 0>(stream, settings, segment, scaler, step, "sgd_update");
  }
}

/// One AdamW step over a segment; everything else as sgd_update.
template <class M, class G, class W>
void adamw_update(Stream& stream, AdamWSettings const& settings, Segment<M, G, W> const& segment,
                  ScalerState const* scaler, StepState const* step) {
  detail::launch_update<AdamWRule, 2>(stream, settings, segment, scaler, step, "adamw_update");
}

/// Ends a step: moves the scale, counts the step as taken or skipped, and after a taken one advances the step count,
/// the learning rate and the EMA's decay.
inline void finish_step(Stream& stream, ScalerSettings const& settings, ScheduleSettings const& schedule,
                        EmaSettings const& ema, ScalerState* scaler, StepState* step) {
  detail::launch(stream, "finish_step", 1, 1, detail::finish_step_kernel<>, settings, schedule, ema, scaler, step);
}

}  // namespace mixprec::inline MIXPREC_ABI::cuda
