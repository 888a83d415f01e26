// SPDX-License-Identifier: Apache-2.0
// Learning-rate schedules. Each is a small struct that becomes a ScheduleSettings; the kernel finish_step evaluates it
// on the device. `t` counts optimizer steps taken, from 0: iterations, not epochs, and a skipped step does not count.
#pragma once

#include <cmath>  // std::isfinite
#include <cstdint>
#include <string>

#include <mixprec/backend/optimizer_arguments.hpp>
#include <mixprec/backend/optimizer_math.hpp>  // learning_rate, initial_step_state
#include <mixprec/error.hpp>

namespace mixprec::inline MIXPREC_ABI {

/// Linear warm-up: for t < steps the schedule's learning rate times ratio + (1 - ratio) t / steps.
/// Source: MMCV warmup='linear' (warmup_iters, warmup_ratio); PyTorch LinearLR(start_factor = ratio) in a product.
struct Warmup {
  std::int64_t steps = 0;
  double ratio = 0.1;  // of the first step
};

namespace detail {

inline void require_schedule(bool good, char const* schedule, char const* field, double value, char const* remedy) {
  if (good) return;
  throw Error(std::string(schedule) + ": ." + field + " is " + std::to_string(value) + ". " + remedy);
}

inline void set_common(ScheduleSettings& settings, char const* schedule, ScheduleKind kind, double lr,
                       Warmup const& warmup) {
  require_schedule(lr >= 0.0 && std::isfinite(lr), schedule, "lr", lr, "Use a number that is not negative.");
  require_schedule(warmup.steps >= 0, schedule, "warmup.steps", static_cast<double>(warmup.steps),
                   "Use 0 for no warm-up.");
  require_schedule(warmup.ratio >= 0.0 && warmup.ratio <= 1.0, schedule, "warmup.ratio", warmup.ratio,
                   "Use a number in [0, 1].");
  settings.kind = kind;
  settings.lr = lr;
  settings.warmup_steps = warmup.steps;
  settings.warmup_ratio = warmup.ratio;
}

inline void set_decline(ScheduleSettings& settings, char const* schedule, double min_lr, std::int64_t total_steps) {
  require_schedule(min_lr >= 0.0 && min_lr <= settings.lr, schedule, "min_lr", min_lr, "Use a number in [0, lr].");
  require_schedule(total_steps > 0, schedule, "total_steps", static_cast<double>(total_steps),
                   "Set it to the number of optimizer steps of the whole run.");
  settings.min_lr = min_lr;
  settings.total_steps = total_steps;
}

}  // namespace detail

// All of them: Errors: converting to ScheduleSettings throws an Error that names schedule, field and value.

/// lr at every step.
struct Constant {
  double lr = 0.1;
  Warmup warmup = {};

  operator ScheduleSettings() const {
    ScheduleSettings settings;
    detail::set_common(settings, "Constant", ScheduleKind::constant, lr, warmup);
    return settings;
  }
};

/// max(lr gamma^k, min_lr), where k counts the decays so far: one each `every` steps, and one at each milestone.
/// Source: PyTorch StepLR (every = step_size) and MultiStepLR (milestones); MMCV policy 'step'.
struct StepDecay {
  double lr = 0.1;
  double gamma = 0.1;
  std::int64_t every = 0;
  std::int64_t milestones[ScheduleSettings::max_milestones] = {};  // 0: unused
  double min_lr = 0.0;
  Warmup warmup = {};

  operator ScheduleSettings() const {
    ScheduleSettings settings;
    detail::set_common(settings, "StepDecay", ScheduleKind::step_decay, lr, warmup);
    detail::require_schedule(gamma > 0.0 && gamma <= 1.0, "StepDecay", "gamma", gamma, "Use a number in (0, 1].");
    detail::require_schedule(min_lr >= 0.0 && min_lr <= lr, "StepDecay", "min_lr", min_lr, "Use a number in [0, lr].");
    detail::require_schedule(every >= 0, "StepDecay", "every", static_cast<double>(every),
                             "Use a number of steps, or 0 with milestones.");
    bool decays = every > 0;
    for (int i = 0; i < ScheduleSettings::max_milestones; ++i) {
      detail::require_schedule(milestones[i] >= 0, "StepDecay", "milestones", static_cast<double>(milestones[i]),
                               "Use numbers of steps above 0.");
      decays |= milestones[i] > 0;
      settings.milestones[i] = milestones[i];
    }
    if (!decays) throw Error("StepDecay: neither .every nor .milestones is set. Set one of them, or use Constant.");
    settings.gamma = gamma;
    settings.every = every;
    settings.min_lr = min_lr;
    return settings;
  }
};

/// min_lr + (lr - min_lr) (1 - t / total_steps)^power; min_lr from total_steps on.
/// Source: MMCV policy 'poly'; PyTorch PolynomialLR where min_lr is 0.
struct Poly {
  double lr = 0.1;
  double power = 1.0;
  std::int64_t total_steps = 0;
  double min_lr = 0.0;
  Warmup warmup = {};

  operator ScheduleSettings() const {
    ScheduleSettings settings;
    detail::set_common(settings, "Poly", ScheduleKind::poly, lr, warmup);
    detail::set_decline(settings, "Poly", min_lr, total_steps);
    detail::require_schedule(power > 0.0 && std::isfinite(power), "Poly", "power", power, "Use a number above 0.");
    settings.power = power;
    return settings;
  }
};

/// min_lr + (lr - min_lr) (1 + cos(pi t / total_steps)) / 2; min_lr from total_steps on.
/// Source: PyTorch CosineAnnealingLR (T_max = total_steps, eta_min = min_lr) up to T_max; MMCV 'CosineAnnealing'.
struct Cosine {
  double lr = 0.1;
  std::int64_t total_steps = 0;
  double min_lr = 0.0;
  Warmup warmup = {};

  operator ScheduleSettings() const {
    ScheduleSettings settings;
    detail::set_common(settings, "Cosine", ScheduleKind::cosine, lr, warmup);
    detail::set_decline(settings, "Cosine", min_lr, total_steps);
    return settings;
  }
};

/// `cycles` equal cycles, each rising from lr to ratio_up lr over its first `up_fraction` and falling from there to
/// ratio_down lr; after total_steps ratio_down lr. One cycle is the one-cycle policy; Anneal::linear is triangular.
/// Source: MMCV policy 'cyclic' (target_ratio = (ratio_up, ratio_down), cyclic_times, step_ratio_up, anneal_strategy).
struct Cyclic {
  double lr = 0.001;
  std::int64_t total_steps = 0;
  double ratio_up = 10.0, ratio_down = 1e-4;
  std::int64_t cycles = 1;
  double up_fraction = 0.4;
  Anneal anneal = Anneal::cosine;
  Warmup warmup = {};

  operator ScheduleSettings() const {
    ScheduleSettings settings;
    detail::set_common(settings, "Cyclic", ScheduleKind::cyclic, lr, warmup);
    detail::set_decline(settings, "Cyclic", 0.0, total_steps);
    detail::require_schedule(cycles > 0 && cycles <= total_steps, "Cyclic", "cycles", static_cast<double>(cycles),
                             "Use a number in [1, total_steps].");
    detail::require_schedule(up_fraction >= 0.0 && up_fraction < 1.0, "Cyclic", "up_fraction", up_fraction,
                             "Use a number in [0, 1).");
    detail::require_schedule(ratio_up >= 0.0 && std::isfinite(ratio_up), "Cyclic", "ratio_up", ratio_up,
                             "Use a number that is not negative.");
    detail::require_schedule(ratio_down >= 0.0 && std::isfinite(ratio_down), "Cyclic", "ratio_down", ratio_down,
                             "Use a number that is not negative.");
    settings.anneal = anneal;
    settings.ratio_up = ratio_up;
    settings.ratio_down = ratio_down;
    settings.cycle_steps = total_steps / cycles;
    settings.up_steps = static_cast<std::int64_t>(up_fraction * static_cast<double>(settings.cycle_steps));
    return settings;
  }
};

}  // namespace mixprec::inline MIXPREC_ABI
