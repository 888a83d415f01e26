// SPDX-License-Identifier: Apache-2.0
// The eager loop: backward, unscale, clip and step as calls of their own, for loops that need the host in between.
#pragma once

#include <algorithm>  // std::min
#include <cmath>      // std::sqrt
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <mixprec/backend/optimizer_math.hpp>
#include <mixprec/optim/schedule.hpp>
#include <mixprec/scaler/presets.hpp>
#include <mixprec/scaler/scaler.hpp>
#include <mixprec/scaler/step_result.hpp>
#include <mixprec/train/gradients.hpp>
#include <mixprec/train/optimizer.hpp>

namespace mixprec::inline MIXPREC_ABI {

struct TrainerOptions {
  std::optional<Ema> ema{};
};

/// A model with its optimizer, scaler, schedule and EMA, for a loop by hand:
///
///     Trainer trainer{net, opt, scaler, Constant{.lr = 0.1}};
///     auto loss = cross_entropy(net(image), label);
///     Gradients<Scaled> scaled = trainer.backward(loss);
///     Gradients<Unscaled> gradients = unscale(std::move(scaled));
///     clip_grad_norm(gradients, 1.0);
///     StepResult result = trainer.step(std::move(gradients));
///
/// The kernels are those of Step, and so are the results. Make the trainer before the first forward pass: it begins the
/// model's step, and step() begins the next one.
template <class M, class Opt, class S>
class Trainer final : detail::GradientSource {
 public:
  using B = typename M::backend;

  /// Errors: Error for settings that cannot work. A dynamic scaler under a policy without float16 does not compile.
  Trainer(M& model, Opt& optimizer, S const& scaler, ScheduleSettings const& schedule,
          TrainerOptions const& options = {})
      : model_(model), optimizer_(optimizer), scaler_(scaler), schedule_(schedule), has_ema_(options.ema.has_value()) {
    static_assert(
        scaler_fits_v<S, M::policy::low>,
        "mixprec: Trainer: a dynamic scaler has nothing to do under this policy, whose low-precision dtype has "
        "float's range. Use Scaler<NoScaler>.");
    if (options.ema) ema_ = *options.ema;
    Arena<B>& arena = model.session().arena();
    scaler_state_ = Storage<B>(arena, sizeof(ScalerState));
    step_state_ = Storage<B>(arena, sizeof(StepState));
    restore(scaler.initial_state(), initial_step_state(schedule_, ema_));
    begin();
  }
  ~Trainer() { model_.session().clear_tape(); }

  /// Gradients of loss * factor * loss scale for every parameter that the loss depends on; the tape is empty
  /// afterwards. Further calls before step() add up, for models built with accumulate_gradients; a mean over n
  /// micro-batches has factor 1/n. Sync: none. Errors: Error for a loss of another model, for a second call that cannot
  /// add up, and for one behind unscale.
  template <class T, class Policy>
  [[nodiscard]] Gradients<Scaled> backward(Value<B, T, 0, dynamic_channels, Policy> const& loss, double factor = 1.0) {
    Session<B>& session = model_.session();
    if (&loss.session() != &session) {
      throw Error("backward: the loss belongs to another model than the trainer. Use that model's trainer.");
    }
    if (checked_) {
      throw Error(
          "backward: this step's gradients were given to unscale before, and cannot grow any more. Call step, or "
          "zero_grad to drop them.");
    }
    if (begun_ && !model_.options().accumulate_gradients) {
      throw Error(
          "backward: called twice in one step, but the model's gradients cannot add up. Call step or zero_grad "
          "first, or build the model with .accumulate_gradients = true.");
    }
    if (!begun_) begin_step(model_.stream(), scaler_state(), step_state());
    begun_ = true;
    session.backward(loss, &scaler_state()->scale, factor);
    optimizer_.prepare(has_ema_);
    ++generation_;
    return Gradients<Scaled>(*this);
  }

  /// Takes the step, or skips it where the scaler checks and a gradient is not finite; moves scale, schedule and EMA
  /// on. Sync: waits, for the result.
  StepResult step(Gradients<Unscaled>&& gradients) {
    if (&gradients.token_.open("step") != this) {
      throw Error("step: the gradients belong to another trainer. Give them to the one whose backward made them.");
    }
    (void)gradients.token_.take("step", "were given to step before. Call backward for new ones.");
    auto options = optimizer_.options();
    options.max_norm = max_norm_;
    optimizer_.update(options, scaler_.checks(), scaler_state(), step_state());
    finish_step(model_.stream(), scaler_.settings(), schedule_, ema_, scaler_state(), step_state());
    StepResult const last = result();
    begin();
    return last;
  }
  template <class State>
  void step(Gradients<State>&&) {
    static_assert(detail::never<State>,
                  "mixprec: step: these gradients are still multiplied by the loss scale. Give step what "
                  "unscale(std::move(gradients)) returns.");
  }
  template <class State>
  void step(Gradients<State>&) {
    static_assert(
        detail::never<State>,
        "mixprec: step: the gradients change hands. Write step(std::move(gradients)) with unscaled gradients.");
  }

  /// Drops the gradients of a step that will not be taken. torch.optim.Optimizer.zero_grad.
  void zero_grad() { begin(); }

  /// The last step's result, until the next backward. Sync: waits.
  StepResult result() { return step_result(read<ScalerState>(scaler_state_), read<StepState>(step_state_)); }
  /// State for checkpoints, between two steps; `restore` takes it back. Sync: waits.
  ScalerState scaler_snapshot() { return read<ScalerState>(scaler_state_); }
  StepState step_snapshot() { return read<StepState>(step_state_); }
  void restore(ScalerState const& scaler, StepState const& step) {
    B::copy_from_host(model_.stream(), scaler_state_.data(), &scaler, sizeof(scaler));
    B::copy_from_host(model_.stream(), step_state_.data(), &step, sizeof(step));
  }

 private:
  ScalerState* scaler_state() { return static_cast<ScalerState*>(scaler_state_.data()); }
  StepState* step_state() { return static_cast<StepState*>(step_state_.data()); }
  template <class State>
  State read(Storage<B> const& storage) {
    State state;
    B::copy_to_host(model_.stream(), &state, storage.data(), sizeof(state));
    return state;
  }

  void begin() {
    begun_ = checked_ = has_norm_ = false;
    max_norm_ = optimizer_.options().max_norm;
    ++generation_;
    model_.session().begin_step();
  }

  // One pass over the gradients where somebody asks for it, as in Step.
  void check() override {
    checked_ = true;
    has_norm_ = optimizer_.needs_norm();
    if (scaler_.checks() || has_norm_) optimizer_.check(has_norm_, scaler_state(), step_state());
  }
  // The norm's kernel adds to the step's sum, so it runs once.
  void sum_norm() {
    if (!has_norm_) optimizer_.check(true, scaler_state(), step_state());
    has_norm_ = true;
  }
  void clip(double max_norm) override {
    sum_norm();
    max_norm_ = max_norm_ > 0.0 ? std::min(max_norm_, max_norm) : max_norm;
  }
  double norm() override {
    sum_norm();
    return std::sqrt(step_snapshot().grad_norm_squared);
  }
  bool found_inf() override { return scaler_snapshot().found_inf > 0.0f; }
  std::vector<double> gradient(std::string_view name, bool unscaled) override {
    std::vector<double> values = model_.gradient(name);
    if (!unscaled) return values;
    double const factor = clip_coefficient<double>(max_norm_, step_snapshot().grad_norm_squared) /
                          static_cast<double>(scaler_snapshot().scale);
    for (double& value : values) value *= factor;
    return values;
  }

  M& model_;
  Opt& optimizer_;
  S scaler_;
  ScheduleSettings schedule_;
  EmaSettings ema_;
  Storage<B> scaler_state_, step_state_;
  double max_norm_ = 0.0;  // the optimizer's, or a smaller one of this step's clip_grad_norm; 0: no clipping
  bool has_ema_, begun_ = false, checked_ = false, has_norm_ = false;
};

}  // namespace mixprec::inline MIXPREC_ABI
