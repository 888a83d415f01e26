// SPDX-License-Identifier: Apache-2.0
// The eager loop: backward, unscale, clip and step as calls of their own, for loops that need the host in between.
#pragma once

#include <algorithm>  // std::min
#include <cmath>      // std::sqrt
#include <optional>
#include <string>
#include <string_view>
#include <utility>  // std::exchange
#include <vector>

#include <mixprec/backend/optimizer_math.hpp>
#include <mixprec/train/gradients.hpp>
#include <mixprec/train/training_state.hpp>

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
class Trainer final : public TrainingState<M, Opt, S>, detail::GradientSource {
  using Base = TrainingState<M, Opt, S>;
  using Base::model_, Base::optimizer_, Base::passes_;

 public:
  using B = typename M::backend;

  /// Errors: Error for settings that cannot work. A dynamic scaler under a policy without float16 does not compile.
  Trainer(M& model, Opt& optimizer, S const& scaler, ScheduleSettings const& schedule,
          TrainerOptions const& options = {})
      : Base(model, optimizer, scaler, schedule, options.ema) {
    model_.session().begin_pass();
    zero_grad();
  }
  ~Trainer() { model_.session().clear_tape(); }

  /// Gradients of loss * factor * loss scale for every parameter that the loss depends on; the tape is empty
  /// afterwards. Further calls before step() add up, for models built with accumulate_gradients; a mean over n
  /// micro-batches has factor 1/n. Each forward pass draws dropout masks of its own. Sync: none. Errors: Error for a
  /// loss of another model, for a second call that cannot add up, and for one behind unscale; none of them changes
  /// anything. A throw of the pass itself drops the step's gradients, as zero_grad does.
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
    if (passes_ > 0 && !model_.options().accumulate_gradients) {
      throw Error(
          "backward: called twice in one step, but the model's gradients cannot add up. Call step or zero_grad "
          "first, or build the model with .accumulate_gradients = true.");
    }
    int const passes = std::exchange(passes_, 0);
    ++generation_;
    if (passes == 0) {
      session.parameters().forget_gradients();
      this->begin_gradients();
    }
    this->add_gradients(loss, factor);
    session.begin_pass();
    passes_ = passes + 1;
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
    this->update_parameters(options);
    StepResult const last = this->result();
    model_.session().clear_tape();
    zero_grad();
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

  /// Drops the gradients of a step that will not be taken; forward passes stay, so that it may stand between one and
  /// its backward. step() needs no zero_grad after it. torch.optim.Optimizer.zero_grad.
  void zero_grad() {
    passes_ = 0;
    checked_ = has_norm_ = false;
    max_norm_ = optimizer_.options().max_norm;
    ++generation_;
    model_.session().parameters().forget_gradients();
  }

 private:
  // One pass over the gradients where somebody asks for it, as in Step.
  void check() override {
    checked_ = true;
    has_norm_ = optimizer_.needs_norm();
    this->check_gradients(has_norm_);
  }
  // The norm's kernel adds to the step's sum, so it runs once.
  void sum_norm() {
    if (!has_norm_) this->check_gradients(true);
    has_norm_ = true;
  }
  void clip(double max_norm) override {
    sum_norm();
    max_norm_ = max_norm_ > 0.0 ? std::min(max_norm_, max_norm) : max_norm;
  }
  double norm() override {
    sum_norm();
    return std::sqrt(this->step_snapshot().grad_norm_squared);
  }
  bool found_inf() override { return this->scaler_snapshot().found_inf > 0.0f; }
  std::vector<double> gradient(std::string_view name, bool unscaled) override {
    std::vector<double> values = model_.gradient(name);
    if (!unscaled) return values;
    double const factor = clip_coefficient<double>(max_norm_, this->step_snapshot().grad_norm_squared) /
                          static_cast<double>(this->scaler_snapshot().scale);
    for (double& value : values) value *= factor;
    return values;
  }

  double max_norm_ = 0.0;  // the optimizer's, or a smaller one of this step's clip_grad_norm; 0: no clipping
  bool checked_ = false, has_norm_ = false;
};

}  // namespace mixprec::inline MIXPREC_ABI
