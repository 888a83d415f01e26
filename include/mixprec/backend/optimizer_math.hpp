// SPDX-License-Identifier: Apache-2.0
// The arithmetic of the optimizers, the loss scaler and the schedules, element by element and object by object; the
// CPU's and CUDA's kernels only differ in how they walk over memory.
#pragma once

#include <cmath>
#include <cstdint>
#include <string>

#include <mixprec/backend/optimizer_arguments.hpp>
#include <mixprec/config.hpp>
#include <mixprec/dtype/bits.hpp>
#include <mixprec/dtype/dtype.hpp>
#include <mixprec/error.hpp>

namespace mixprec::inline MIXPREC_ABI {

/// Neither infinity nor NaN. It looks at bits, so that -ffast-math and --use_fast_math cannot remove it.
template <floating_dtype T>
constexpr MIXPREC_HD bool is_finite(T value) {
  if constexpr (dtype_of_v<T> == DType::float64) {
    return (bits_as<std::uint64_t>(value) & 0x7ff0000000000000u) != 0x7ff0000000000000u;
  } else if constexpr (dtype_of_v<T> == DType::float32) {
    return (bits_as<std::uint32_t>(value) & 0x7f800000u) != 0x7f800000u;
  } else {
    constexpr std::uint16_t exponent = dtype_of_v<T> == DType::float16 ? 0x7c00 : 0x7f80;
    return (value.bits & exponent) != exponent;
  }
}

/// 1 / scale. Precision: computed in double and rounded once to float.
/// Source: PyTorch 2.x, GradScaler.unscale_.
constexpr MIXPREC_HD float inverse_scale(float scale) { return static_cast<float>(1.0 / static_cast<double>(scale)); }

/// The factor that brings gradients of this norm down to `max_norm`: max_norm / (norm + 1e-6), at most 1. NaN stays
/// NaN. Source: PyTorch 2.x, clip_grad_norm_.
template <class A>
MIXPREC_HD inline A clip_coefficient(double max_norm, double grad_norm_squared) {
  if (!(max_norm > 0.0)) return A(1);
  A const coefficient = A(max_norm) / (A(std::sqrt(grad_norm_squared)) + A(1e-6));
  return coefficient > A(1) ? A(1) : coefficient;
}

/// base^exponent by repeated squaring; relative error about exponent * 2^-53. pow would cost each block on CUDA more.
constexpr MIXPREC_HD double integer_power(double base, std::int64_t exponent) {
  double result = 1.0;
  for (; exponent > 0 && result != 0.0; exponent >>= 1) {
    if ((exponent & 1) != 0) result *= base;
    base *= base;
  }
  return result;
}

/// from + weight (to - from), exactly `to` at weight 1.
template <class A>
constexpr MIXPREC_HD A interpolate(A from, A to, A weight) {
  return weight < A(0.5) ? from + weight * (to - from) : to - (to - from) * (A(1) - weight);
}

/// What both backends ask of a segment before they touch it. Errors: a size that is not a multiple of
/// segment_alignment.
template <class M, class G, class W>
void check_segment(Segment<M, G, W> const& segment) {
  static_assert(sizeof(G) <= sizeof(accumulator_t<M>),
                "mixprec: optimizer: gradients are wider than the update's arithmetic. Use double master weights.");
  if (segment.size % segment_alignment != 0) {
    throw Error("optimizer: a segment has " + std::to_string(segment.size) + " elements, not a multiple of " +
                std::to_string(segment_alignment) + ". Pad it with zeros.");
  }
}

/// SGD for one element, with the step's constants.
/// Source: PyTorch 2.x, torch.optim.SGD: weight decay joins the gradient; the first momentum buffer is the gradient.
template <class A>
struct SgdRule {
  A unscale, clip, ema_weight, momentum, fresh;
  double lr, weight_decay;
  bool nesterov, first;

  /// Constants of one run of parameters.
  struct Run {
    A lr, weight_decay;
  };

  static MIXPREC_HD SgdRule make(SgdSettings const& settings, ScalerState const& scaler, StepState const& step) {
    return {A(inverse_scale(scaler.scale)),
            clip_coefficient<A>(settings.max_norm, step.grad_norm_squared),
            A(1.0 - step.ema_decay),
            A(settings.momentum),
            A(1.0 - settings.dampening),
            step.learning_rate,
            settings.weight_decay,
            settings.nesterov,
            step.step == 0};
  }

  MIXPREC_HD Run run(double lr_multiplier, double decay_multiplier) const {
    return {A(lr * lr_multiplier), A(weight_decay * decay_multiplier)};
  }

  /// `States` is 1 with momentum and 0 without; then `buffer` is not touched.
  template <int States>
  MIXPREC_HD void update(Run const& run, A gradient, A& parameter, A& buffer, A&) const {
    A direction = gradient * unscale * clip + run.weight_decay * parameter;
    if constexpr (States > 0) {
      buffer = first ? direction : momentum * buffer + fresh * direction;
      direction = nesterov ? direction + momentum * buffer : buffer;
    }
    parameter -= run.lr * direction;
  }
};

/// AdamW for one element, with the step's constants.
/// Source: PyTorch 2.x, torch.optim.AdamW: the parameter decays first; eps is added outside the square root and after
/// the bias correction.
template <class A>
struct AdamWRule {
  A unscale, clip, ema_weight, weight1, beta2, weight2, correction2_root, eps;
  double lr, corrected_lr, weight_decay;
  bool first;

  /// Constants of one run of parameters.
  struct Run {
    A keep, step_size;
  };

  static MIXPREC_HD AdamWRule make(AdamWSettings const& settings, ScalerState const& scaler, StepState const& step) {
    double const correction1 = 1.0 - integer_power(settings.beta1, step.step + 1);
    double const correction2 = 1.0 - integer_power(settings.beta2, step.step + 1);
    return {A(inverse_scale(scaler.scale)),
            clip_coefficient<A>(settings.max_norm, step.grad_norm_squared),
            A(1.0 - step.ema_decay),
            A(1.0 - settings.beta1),
            A(settings.beta2),
            A(1.0 - settings.beta2),
            A(std::sqrt(correction2)),
            A(settings.eps),
            step.learning_rate,
            step.learning_rate / correction1,
            settings.weight_decay,
            step.step == 0};
  }

  MIXPREC_HD Run run(double lr_multiplier, double decay_multiplier) const {
    return {A(1.0 - lr * lr_multiplier * weight_decay * decay_multiplier), A(corrected_lr * lr_multiplier)};
  }

  template <int States>
  MIXPREC_HD void update(Run const& run, A gradient, A& parameter, A& moment1, A& moment2) const {
    A const g = gradient * unscale * clip;
    A const m = first ? A(0) : moment1;
    A const v = first ? A(0) : moment2;
    moment1 = interpolate(m, g, weight1);
    moment2 = beta2 * v + weight2 * g * g;
    A const denominator = std::sqrt(moment2) / correction2_root + eps;
    parameter = run.keep * parameter - run.step_size * (moment1 / denominator);
  }
};

/// The learning rate without its warm-up; see learning_rate.
MIXPREC_HD inline double regular_learning_rate(ScheduleSettings const& schedule, std::int64_t step) {
  constexpr double pi = 3.14159265358979323846;
  auto const part_of = [](std::int64_t part, std::int64_t all) {
    return static_cast<double>(part) / static_cast<double>(all);
  };
  double const reached = step < schedule.total_steps ? part_of(step, schedule.total_steps) : 1.0;
  switch (schedule.kind) {
    case ScheduleKind::constant: return schedule.lr;
    case ScheduleKind::step_decay: {
      std::int64_t decays = schedule.every > 0 ? step / schedule.every : 0;
      for (std::int64_t const milestone : schedule.milestones) decays += milestone > 0 && step >= milestone ? 1 : 0;
      double const lr = schedule.lr * integer_power(schedule.gamma, decays);
      return lr < schedule.min_lr ? schedule.min_lr : lr;
    }
    case ScheduleKind::poly:
      return schedule.min_lr + (schedule.lr - schedule.min_lr) * std::pow(1.0 - reached, schedule.power);
    case ScheduleKind::cosine:
      return schedule.min_lr + 0.5 * (schedule.lr - schedule.min_lr) * (1.0 + std::cos(pi * reached));
    case ScheduleKind::cyclic: {
      if (step >= schedule.total_steps) return schedule.lr * schedule.ratio_down;
      std::int64_t const at = step % schedule.cycle_steps;
      bool const rising = at < schedule.up_steps;
      double const from = rising ? 1.0 : schedule.ratio_up, to = rising ? schedule.ratio_up : schedule.ratio_down;
      double const part = rising ? part_of(at, schedule.up_steps)
                                 : part_of(at - schedule.up_steps, schedule.cycle_steps - schedule.up_steps);
      double const weight = schedule.anneal == Anneal::linear ? 1.0 - part : 0.5 * (1.0 + std::cos(pi * part));
      return schedule.lr * (to + (from - to) * weight);
    }
  }
  return schedule.lr;
}

/// The learning rate of the step before which `step` steps have been taken. The formulas stand at the schedules of
/// optim/schedule.hpp.
MIXPREC_HD inline double learning_rate(ScheduleSettings const& schedule, std::int64_t step) {
  double const regular = regular_learning_rate(schedule, step);
  if (step >= schedule.warmup_steps) return regular;
  double const missing = 1.0 - static_cast<double>(step) / static_cast<double>(schedule.warmup_steps);
  return regular * (1.0 - missing * (1.0 - schedule.warmup_ratio));
}

/// The decay of the moving average in the step before which `step` steps have been taken.
constexpr MIXPREC_HD double ema_decay(EmaSettings const& ema, std::int64_t step) {
  if (!(ema.warm_up > 0.0)) return ema.decay;
  double const early = (1.0 + static_cast<double>(step)) / (ema.warm_up + static_cast<double>(step));
  return early < ema.decay ? early : ema.decay;
}

/// The state before a step, with `step` steps taken already (0 for a new run, the saved count for a resumed one).
MIXPREC_HD inline StepState initial_step_state(ScheduleSettings const& schedule, EmaSettings const& ema,
                                               std::int64_t step = 0) {
  StepState state;
  state.learning_rate = learning_rate(schedule, step);
  state.ema_decay = ema_decay(ema, step);
  state.step = step;
  return state;
}

/// Body of the kernel begin_step.
constexpr MIXPREC_HD void begin_step_state(ScalerState& scaler, StepState& step) {
  scaler.found_inf = 0.0f;
  step.grad_norm_squared = 0.0;
}

/// The scale after a step with (`found_inf`) or without a gradient that is not finite.
/// Source: PyTorch 2.x, amp_update_scale_. Added: the bounds and the hysteresis; growth to the ceiling stops there; a
/// scale without a floor stops at the smallest normal float, because the reciprocal of a smaller one overflows and
/// would turn the parameters into NaN without a skipped step.
constexpr MIXPREC_HD void update_scale(ScalerSettings const& settings, bool found_inf, ScalerState& state) {
  if (found_inf) {
    state.growth_tracker = 0;
    if (state.hysteresis_left > 0) --state.hysteresis_left;
    if (state.hysteresis_left > 0) return;
    float const floor = settings.min_scale > 0.0f ? settings.min_scale : 0x1p-126f;
    float const scale = static_cast<float>(state.scale * settings.backoff_factor);
    state.scale = scale < floor ? floor : scale;
    return;
  }
  if (++state.growth_tracker < settings.growth_interval) return;
  state.growth_tracker = 0;
  state.hysteresis_left = settings.hysteresis;
  // Compared in double before the conversion, which is undefined in C++ for a value that float cannot hold.
  double scale = state.scale * settings.growth_factor;
  if (settings.max_scale > 0.0f && scale > settings.max_scale) scale = settings.max_scale;
  if (scale <= 0x1.fffffep127) state.scale = static_cast<float>(scale);
}

/// Body of the kernel finish_step.
MIXPREC_HD inline void finish_step_state(ScalerSettings const& settings, ScheduleSettings const& schedule,
                                         EmaSettings const& ema, ScalerState& scaler, StepState& step) {
  bool const found_inf = settings.check && scaler.found_inf > 0.0f;
  if (settings.dynamic) update_scale(settings, found_inf, scaler);
  step.last_taken = found_inf ? 0 : 1;
  if (found_inf) {
    ++scaler.steps_skipped;
    return;
  }
  ++scaler.steps_taken;
  ++step.step;
  step.learning_rate = learning_rate(schedule, step.step);
  step.ema_decay = ema_decay(ema, step.step);
}

}  // namespace mixprec::inline MIXPREC_ABI
