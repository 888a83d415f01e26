// SPDX-License-Identifier: Apache-2.0
// What the loss scaler's and the optimizers' kernels read and write; the same structs on the CPU and on CUDA. State is
// one object in backend memory that only kernels change; settings are constants that are passed by value.
#pragma once

#include <cstdint>

#include <mixprec/config.hpp>

namespace mixprec::inline MIXPREC_ABI {

/// The loss scaler's state, one object in backend memory; the host reads it only when asked to.
struct ScalerState {
  float scale = 1.0f;                // the loss is multiplied by this
  std::int32_t growth_tracker = 0;   // steps without inf since the last change of the scale
  std::int32_t hysteresis_left = 1;  // skipped steps before the scale backs off; 0: every further one does
  float found_inf = 0.0f;            // 1 where a gradient of this step is not finite
  std::int64_t steps_taken = 0;
  std::int64_t steps_skipped = 0;
};

/// Settings of finish_step. `dynamic` false: the scale never moves. `check` false: found_inf is ignored.
struct ScalerSettings {
  double growth_factor = 2.0, backoff_factor = 0.5;
  std::int32_t growth_interval = 2000;
  float min_scale = 0.0f, max_scale = 0.0f;  // 0: no bound
  std::int32_t hysteresis = 1;  // skipped steps since the last growth before the scale backs off; PyTorch's is 1
  bool dynamic = true, check = true;
};

/// What the schedule and EMA depend on, and the gradients' norm; in backend memory beside ScalerState.
struct StepState {
  double learning_rate = 0.0;      // of the step that runs or comes next
  double ema_decay = 0.0;          // likewise
  std::int64_t step = 0;           // optimizer steps taken; not advanced by skipped steps
  double grad_norm_squared = 0.0;  // of the unscaled gradients, where clipping asks for it
  std::int32_t last_taken = 0;     // 1 where the last finished step was taken
};

/// One contiguous run of parameters with one pair of multipliers.
struct ParameterRun {
  std::int64_t begin, end;  // elements of the segment
  double lr_multiplier, decay_multiplier;
  bool reached = true;  // false: the step has no gradient for them, and nothing but their EMA moves
};

/// Elements to which a segment's size and the bounds of its runs are aligned, so that no 16-byte access straddles two
/// runs. Padding between parameters is zero in `master`, `gradient` and the states, and the updates keep it zero.
inline constexpr std::int64_t segment_alignment = 16;

/// Parameters of one type in one flat arena, with everything that an update reads and writes.
/// M: master weights and optimizer state (float or double). G: gradients. W: working copy.
template <class M, class G, class W>
struct Segment {
  M* master;
  M* state1;                 // SGD: momentum buffer (nullptr without momentum). AdamW: first moment
  M* state2;                 // AdamW: second moment
  G const* gradient;         // scaled by ScalerState::scale
  W* working;                // low-precision copy, or nullptr where the master is used directly
  M* ema;                    // or nullptr; holds a copy of the parameters before the first step
  std::int64_t size;         // a multiple of segment_alignment
  ParameterRun const* runs;  // in backend memory; they cover [0, size) in order
  std::int32_t run_count;    // 0: all multipliers are 1
};

/// Settings of sgd_update; optim/sgd.hpp makes them from checked options.
struct SgdSettings {
  double momentum = 0.0, dampening = 0.0, weight_decay = 0.0;
  double max_norm = 0.0;  // 0: no clipping
  bool nesterov = false;
  bool check = true;  // do nothing where found_inf is set
};

/// Settings of adamw_update; optim/adamw.hpp makes them from checked options.
struct AdamWSettings {
  double beta1 = 0.9, beta2 = 0.999, eps = 1e-8, weight_decay = 0.01;
  double max_norm = 0.0;  // 0: no clipping
  bool check = true;      // do nothing where found_inf is set
};

enum class ScheduleKind : std::int32_t { constant, step_decay, poly, cosine, cyclic };
enum class Anneal : std::int32_t { cosine, linear };

/// A learning-rate schedule as plain data; optim/schedule.hpp makes it from checked options. Steps are optimizer steps
/// taken.
struct ScheduleSettings {
  static constexpr int max_milestones = 8;

  ScheduleKind kind = ScheduleKind::constant;
  Anneal anneal = Anneal::cosine;
  double lr = 0.0, min_lr = 0.0;
  double gamma = 1.0, power = 1.0;
  std::int64_t total_steps = 0;                  // poly and cosine reach min_lr here
  std::int64_t every = 0;                        // step_decay: one decay each so many steps
  std::int64_t milestones[max_milestones] = {};  // step_decay: one decay at each; 0: unused
  std::int64_t cycle_steps = 0, up_steps = 0;    // cyclic: length of a cycle and of its rise
  double ratio_up = 1.0, ratio_down = 1.0;       // cyclic: top and end of a cycle, as multiples of lr
  std::int64_t warmup_steps = 0;
  double warmup_ratio = 0.0;  // the first step's learning rate as a part of the schedule's
};

/// Exponential moving average of the parameters; optim/ema.hpp makes it from checked options.
struct EmaSettings {
  double decay = 0.0;
  double warm_up = 0.0;  // above 0: the decay is at most (1 + step) / (warm_up + step)
};

}  // namespace mixprec::inline MIXPREC_ABI
