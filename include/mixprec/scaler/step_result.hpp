// SPDX-License-Identifier: Apache-2.0
// What the host can learn about a step. Reading it costs a copy from the device, which is why nothing reads it unasked.
#pragma once

#include <cmath>  // std::sqrt
#include <cstdint>

#include <mixprec/backend/optimizer_arguments.hpp>

namespace mixprec::inline MIXPREC_ABI {

/// The outcome of the last finished step.
struct [[nodiscard]] StepResult {
  bool taken;            // false: skipped, no parameter has changed
  bool found_inf;        // a gradient was not finite; the step is still taken where the scaler does not check
  float scale;           // of the next step
  double learning_rate;  // of the next step
  double grad_norm;      // of the unscaled gradients before clipping; 0 where no clipping asks for it
  std::int64_t step;     // optimizer steps taken so far
  std::int64_t skipped;  // steps skipped so far
};

/// The outcome that the state shows between finish_step and the next begin_step.
inline StepResult step_result(ScalerState const& scaler, StepState const& step) {
  return {.taken = step.last_taken != 0,
          .found_inf = scaler.found_inf > 0.0f,
          .scale = scaler.scale,
          .learning_rate = step.learning_rate,
          .grad_norm = std::sqrt(step.grad_norm_squared),
          .step = step.step,
          .skipped = scaler.steps_skipped};
}

}  // namespace mixprec::inline MIXPREC_ABI
