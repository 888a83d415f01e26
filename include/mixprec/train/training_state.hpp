// SPDX-License-Identifier: Apache-2.0
// What Step and Trainer share: a model with its optimizer, scaler, schedule and EMA, and their state in backend memory.
#pragma once

#include <optional>

#include <mixprec/optim/schedule.hpp>
#include <mixprec/scaler/presets.hpp>
#include <mixprec/scaler/scaler.hpp>
#include <mixprec/scaler/step_result.hpp>
#include <mixprec/train/optimizer.hpp>

namespace mixprec::inline MIXPREC_ABI {

/// Base of Step and Trainer. It refers to the model and the optimizer, which must outlive it.
template <class M, class Opt, class S>
class TrainingState {
  static_assert(scaler_fits_v<S, M::policy::low>,
                "mixprec: a dynamic scaler has nothing to do under this policy, whose low-precision dtype has float's "
                "range. Use Scaler<NoScaler>.");

 public:
  using B = typename M::backend;
  TrainingState(TrainingState const&) = delete;
  TrainingState& operator=(TrainingState const&) = delete;

  /// Whether the last step was taken, the scale, the learning rate; until the next step begins. Sync: waits.
  StepResult result() { return step_result(scaler_snapshot(), step_snapshot()); }
  /// The scaler's and the schedule's state alone; `restore` takes it back. Sync: waits.
  ScalerState scaler_snapshot() { return read<ScalerState>(scaler_state_); }
  StepState step_snapshot() { return read<StepState>(step_state_); }
  void restore(ScalerState const& scaler, StepState const& step) {
    B::copy_from_host(model_.stream(), scaler_state_.data(), &scaler, sizeof(scaler));
    B::copy_from_host(model_.stream(), step_state_.data(), &step, sizeof(step));
  }

 protected:
  /// Errors: Error for settings that cannot work.
  TrainingState(M& model, Opt& optimizer, S const& scaler, ScheduleSettings const& schedule,
                std::optional<Ema> const& ema)
      : model_(model),
        optimizer_(optimizer),
        scaler_(scaler),
        schedule_(schedule),
        has_ema_(ema.has_value()),
        ema_(ema ? EmaSettings(*ema) : EmaSettings{}),
        scaler_state_(model.session().arena(), sizeof(ScalerState)),
        step_state_(model.session().arena(), sizeof(StepState)) {
    restore(scaler.initial_state(), initial_step_state(schedule_, ema_));
  }
  ~TrainingState() = default;

  ScalerState* scaler_state() const { return static_cast<ScalerState*>(scaler_state_.data()); }
  StepState* step_state() const { return static_cast<StepState*>(step_state_.data()); }

  // The parts of a step in their order. Sync: none.
  void begin_gradients() { begin_step(model_.stream(), scaler_state(), step_state()); }
  void add_gradients(auto const& loss, double factor) {
    model_.session().backward(loss, &scaler_state()->scale, factor);
    optimizer_.prepare(has_ema_);
  }
  void check_gradients(bool norm) {
    if (scaler_.checks() || norm) optimizer_.check(norm, scaler_state(), step_state());
  }
  void update_parameters(auto const& options) {
    optimizer_.update(options, scaler_.checks(), scaler_state(), step_state());
    finish_step(model_.stream(), scaler_.settings(), schedule_, ema_, scaler_state(), step_state());
  }

  M& model_;
  Opt& optimizer_;
  int passes_ = 0;  // backward passes of the step that has begun; 0 between two steps

 private:
  template <class State>
  State read(Storage<B> const& storage) {
    State state;
    B::copy_to_host(model_.stream(), &state, storage.data(), sizeof(state));
    return state;
  }

  S scaler_;
  ScheduleSettings schedule_;
  bool has_ema_;
  EmaSettings ema_;
  Storage<B> scaler_state_, step_state_;
};

}  // namespace mixprec::inline MIXPREC_ABI
