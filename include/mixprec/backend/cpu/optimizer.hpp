// SPDX-License-Identifier: Apache-2.0
// The loss scaler's and the optimizers' kernels on the CPU. Their arithmetic is in backend/optimizer_math.hpp.
#pragma once

#include <algorithm>  // std::min, std::max
#include <cstddef>
#include <cstdint>

#include <mixprec/backend/cpu/stream.hpp>
#include <mixprec/backend/optimizer_arguments.hpp>
#include <mixprec/backend/optimizer_math.hpp>
#include <mixprec/dtype/dtype.hpp>

namespace mixprec::inline MIXPREC_ABI::cpu {

namespace detail {

inline constexpr std::int64_t optimizer_grain = 4096;  // elements; a multiple of segment_alignment

/// Updates [begin, end), which lies inside one run, reached or not. The parts are separate loops over blocks that stay
/// in the first cache level, so that each of them becomes vector code.
template <int States, class Rule, class M, class G, class W>
void update_range(Rule const& rule, typename Rule::Run const& run, bool reached, Segment<M, G, W> const& segment,
                  std::int64_t begin, std::int64_t end) {
  using A = accumulator_t<M>;
  constexpr std::int64_t block = 512;
  for (std::int64_t first = begin; first < end; first += block) {
    std::int64_t const last = std::min(end, first + block);
    std::int64_t const updated = reached ? last : first;
    for (std::int64_t i = first; i < updated; ++i) {
      A parameter = convert<A>(segment.master[i]);
      A state1 = 0, state2 = 0;
      // Before the first step the states may hold anything: the rule starts them.
      if constexpr (States > 0) state1 = rule.first ? A(0) : convert<A>(segment.state1[i]);
      if constexpr (States > 1) state2 = rule.first ? A(0) : convert<A>(segment.state2[i]);
      rule.template update<States>(run, convert<A>(segment.gradient[i]), parameter, state1, state2);
      segment.master[i] = convert<M>(parameter);
      if constexpr (States > 0) segment.state1[i] = convert<M>(state1);
      if constexpr (States > 1) segment.state2[i] = convert<M>(state2);
    }
    if (segment.working != nullptr) {
      for (std::int64_t i = first; i < updated; ++i) segment.working[i] = convert<W>(segment.master[i]);
    }
    if (segment.ema != nullptr) {
      for (std::int64_t i = first; i < last; ++i) {
        segment.ema[i] =
            convert<M>(interpolate<A>(convert<A>(segment.ema[i]), convert<A>(segment.master[i]), rule.ema_weight));
      }
    }
  }
}

template <int States, class Rule, class M, class G, class W>
void update_segment(Stream& stream, Rule const& rule, Segment<M, G, W> const& segment) {
  parallel_for(stream, segment.size, optimizer_grain, [&](std::int64_t begin, std::int64_t end) {
    if (segment.run_count == 0) update_range<States>(rule, rule.run(1.0, 1.0), true, segment, begin, end);
    for (std::int32_t r = 0; r < segment.run_count; ++r) {
      ParameterRun const& run = segment.runs[r];
      std::int64_t const from = std::max(begin, run.begin), to = std::min(end, run.end);
      if (from >= to) continue;
      update_range<States>(rule, rule.run(run.lr_multiplier, run.decay_multiplier), run.reached, segment, from, to);
    }
  });
}

}  // namespace detail

/// Clears found_inf and the gradients' norm; the first kernel of a step.
inline void begin_step(Stream&, ScalerState* scaler, StepState* step) { begin_step_state(*scaler, *step); }

/// Sets found_inf where an element of gradient (n) is not finite. With `norm` it adds the sum of (g / scale)^2 to
/// grad_norm_squared. Precision: g / scale in accumulator_t<G>, the sum in double, in an order that does not depend on
/// the number of threads.
template <floating_dtype G>
void check_gradients(Stream& stream, G const* gradient, std::int64_t n, bool norm, ScalerState* scaler,
                     StepState* step) {
  using A = accumulator_t<G>;
  constexpr std::int64_t grain = detail::optimizer_grain;
  std::int64_t const pieces = (n + grain - 1) / grain;
  auto* const sums = static_cast<double*>(stream.scratch(static_cast<std::size_t>(pieces) * 2 * sizeof(double)));
  double* const bad = sums + pieces;
  A const unscale = inverse_scale(scaler->scale);
  parallel_for(stream, n, grain, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t from = begin; from < end; from += grain) {
      std::int64_t const to = std::min(end, from + grain);
      bool finite = true;
      for (std::int64_t i = from; i < to; ++i) finite &= is_finite(gradient[i]);
      double sum = 0;
      if (norm) {
        for (std::int64_t i = from; i < to; ++i) {
          double const g = convert<A>(gradient[i]) * unscale;
          sum += g * g;
        }
      }
      sums[from / grain] = sum;
      bad[from / grain] = finite ? 0.0 : 1.0;
    }
  });
  double sum = 0, any_bad = 0;
  for (std::int64_t i = 0; i < pieces; ++i) {
    sum += sums[i];
    any_bad += bad[i];
  }
  if (norm) step->grad_norm_squared += sum;
  if (any_bad > 0) scaler->found_inf = 1.0f;
}

/// One SGD step over a segment: unscale, clip, decay, momentum, parameter, working copy and EMA in one pass; nothing
/// where the step is skipped. With max_norm, check_gradients(norm = true) runs first over all segments.
/// Precision: arithmetic in accumulator_t<M>; learning rates and multipliers are combined in double; the working copy
/// is rounded once.
template <class M, class G, class W>
void sgd_update(Stream& stream, SgdSettings const& settings, Segment<M, G, W> const& segment, ScalerState const* scaler,
                StepState const* step) {
  check_segment(segment);
  if (settings.check && scaler->found_inf > 0.0f) return;
  auto const rule = SgdRule<accumulator_t<M>>::make(settings, *scaler, *step);
  if (settings.momentum != 0.0) {
    detail::update_segment<1>(stream, rule, segment);
  } else {
    detail::update_segment<0>(stream, rule, segment);
  }
}

/// One AdamW step over a segment; everything else as sgd_update.
template <class M, class G, class W>
void adamw_update(Stream& stream, AdamWSettings const& settings, Segment<M, G, W> const& segment,
                  ScalerState const* scaler, StepState const* step) {
  check_segment(segment);
  if (settings.check && scaler->found_inf > 0.0f) return;
  detail::update_segment<2>(stream, AdamWRule<accumulator_t<M>>::make(settings, *scaler, *step), segment);
}

/// Ends a step: moves the scale, counts the step as taken or skipped, and after a taken one advances the step count,
/// the learning rate and the EMA's decay.
inline void finish_step(Stream&, ScalerSettings const& settings, ScheduleSettings const& schedule,
                        EmaSettings const& ema, ScalerState* scaler, StepState* step) {
  finish_step_state(settings, schedule, ema, *scaler, *step);
}

}  // namespace mixprec::inline MIXPREC_ABI::cpu
