// SPDX-License-Identifier: Apache-2.0
// The scaler's state machine on any backend, beside PyTorch's algorithm written down in double and whole numbers.
#pragma once

#include <doctest/doctest.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <vector>

#include <mixprec/optim/ema.hpp>
#include <mixprec/optim/schedule.hpp>
#include <mixprec/scaler/presets.hpp>
#include <mixprec/scaler/scaler.hpp>
#include <mixprec/scaler/step_result.hpp>

namespace scaler_tests {

using namespace mixprec;

/// torch.amp.GradScaler.update with bounds and hysteresis beside it.
struct Oracle {
  DynamicOptions options;
  double scale = options.init_scale;
  int tracker = 0, infs = 0;
  std::int64_t taken = 0, skipped = 0;

  void update(bool found_inf) {
    if (found_inf) {
      ++skipped;
      tracker = 0;
      if (++infs < options.hysteresis) return;
      scale = static_cast<double>(static_cast<float>(scale * options.backoff_factor));
      scale = std::max(scale, options.min_scale != 0 ? options.min_scale : std::ldexp(1.0, -126));
      return;
    }
    ++taken;
    if (++tracker != options.growth_interval) return;
    tracker = 0;
    infs = 0;
    double grown = scale * options.growth_factor;
    if (options.max_scale != 0) grown = std::min(grown, options.max_scale);
    if (grown <= static_cast<double>(std::numeric_limits<float>::max())) {
      scale = static_cast<double>(static_cast<float>(grown));
    }
  }
};

/// The state in backend memory, stepped by the backend's kernels.
template <class B>
class Machine {
 public:
  template <class Kind>
  explicit Machine(Scaler<Kind> const& scaler) : settings_(scaler.settings()) {
    scaler_ = static_cast<ScalerState*>(B::allocate(stream_, sizeof(ScalerState)));
    step_ = static_cast<StepState*>(B::allocate(stream_, sizeof(StepState)));
    gradient_ = static_cast<float*>(B::allocate(stream_, 16 * sizeof(float)));
    ScalerState const initial = scaler.initial_state();
    StepState const start = initial_step_state(schedule_, ema_);
    B::copy_from_host(stream_, scaler_, &initial, sizeof(initial));
    B::copy_from_host(stream_, step_, &start, sizeof(start));
  }
  Machine(Machine const&) = delete;
  Machine& operator=(Machine const&) = delete;
  ~Machine() {
    B::wait(stream_);
    B::release(stream_, scaler_);
    B::release(stream_, step_);
    B::release(stream_, gradient_);
  }

  StepResult step(bool with_inf) {
    std::vector<float> gradient(16, 1.0f);
    if (with_inf) gradient[7] = std::numeric_limits<float>::infinity();
    B::copy_from_host(stream_, gradient_, gradient.data(), 16 * sizeof(float));
    begin_step(stream_, scaler_, step_);
    check_gradients(stream_, static_cast<float const*>(gradient_), 16, false, scaler_, step_);
    finish_step(stream_, settings_, schedule_, ema_, scaler_, step_);
    return step_result(scaler(), step_state());
  }
  ScalerState scaler() {
    ScalerState state;
    B::copy_to_host(stream_, &state, scaler_, sizeof(state));
    return state;
  }
  StepState step_state() {
    StepState state;
    B::copy_to_host(stream_, &state, step_, sizeof(state));
    return state;
  }
  ScheduleSettings const& schedule() const { return schedule_; }

 private:
  typename B::Stream stream_;
  ScalerSettings settings_;
  ScheduleSettings schedule_ = Poly{.lr = 0.5, .total_steps = 1000};
  EmaSettings ema_ = Ema{.decay = 0.99, .warm_up = 10};
  ScalerState* scaler_;
  StepState* step_;
  float* gradient_;
};

template <class B>
void follows_oracle(DynamicOptions const& options, double inf_rate, int steps, unsigned seed) {
  Machine<B> machine(Scaler<Dynamic>{options});
  Oracle oracle{options};
  std::mt19937 generator(seed);
  int wrong = 0;
  for (int i = 0; i < steps; ++i) {
    bool const with_inf = generator() < inf_rate * 0x1p32;
    StepResult const result = machine.step(with_inf);
    oracle.update(with_inf);
    ScalerState const state = machine.scaler();
    StepState const step = machine.step_state();
    wrong += static_cast<double>(state.scale) != oracle.scale;
    wrong += state.growth_tracker != oracle.tracker;
    wrong += state.steps_taken != oracle.taken || state.steps_skipped != oracle.skipped;
    wrong += step.step != oracle.taken;
    wrong += result.taken == with_inf || result.found_inf != with_inf || result.scale != state.scale ||
             result.step != oracle.taken || result.skipped != oracle.skipped;
    // The schedule and EMA advance on taken steps only.
    double const t = static_cast<double>(oracle.taken);
    wrong += std::abs(result.learning_rate - 0.5 * (1 - t / 1000)) > 1e-14;
    wrong += std::abs(step.ema_decay - std::min(0.99, (1 + t) / (10 + t))) > 1e-15;
  }
  CHECK(wrong == 0);
  CHECK(oracle.taken > 0);
  CHECK(oracle.skipped > 0);
}

template <class B>
void scaler_cases() {
  SUBCASE("growth and backoff follow PyTorch over random infs") {
    for (unsigned seed = 0; seed < 3; ++seed) {
      follows_oracle<B>({.growth_interval = 3}, 0.2, 300, seed);
      follows_oracle<B>({.init_scale = 1000.0, .growth_factor = 1.7, .backoff_factor = 0.3, .growth_interval = 2}, 0.4,
                        300, seed);
      follows_oracle<B>({.growth_interval = 1}, 0.1, 400, seed);  // reaches the largest float, where growth stops
    }
  }
  SUBCASE("the scale stops at the smallest normal float, at a floor and at a ceiling") {
    follows_oracle<B>({.growth_interval = 50}, 0.9, 300, 5);
    follows_oracle<B>({.growth_interval = 4, .min_scale = 300.0}, 0.6, 200, 6);
    follows_oracle<B>({.growth_interval = 2, .max_scale = 0x1p24}, 0.1, 200, 7);
    follows_oracle<B>({.init_scale = 3.0, .growth_interval = 2, .min_scale = 1.0, .max_scale = 100.0}, 0.3, 200, 8);
  }
  SUBCASE("hysteresis lets infs pass before the scale backs off") {
    follows_oracle<B>({.growth_interval = 5, .hysteresis = 2}, 0.2, 300, 9);
    follows_oracle<B>({.growth_interval = 10, .hysteresis = 4}, 0.3, 300, 10);
    Machine<B> machine(Scaler<Dynamic>{{.init_scale = 1024.0, .growth_interval = 2, .hysteresis = 2}});
    CHECK(machine.step(true).scale == 1024.0f);
    CHECK(machine.step(true).scale == 512.0f);
    CHECK(machine.step(true).scale == 256.0f);
    CHECK(machine.step(false).scale == 256.0f);
    CHECK(machine.step(false).scale == 512.0f);
    CHECK(machine.step(true).scale == 512.0f);  // growth has restored the hysteresis
    CHECK(machine.step(true).scale == 256.0f);
  }
  SUBCASE("growth to infinity does not happen and the interval starts again") {
    Machine<B> machine(Scaler<Dynamic>{{.init_scale = 0x1p126, .growth_interval = 2}});
    CHECK(machine.step(false).scale == 0x1p126f);
    CHECK(machine.step(false).scale == 0x1p127f);
    CHECK(machine.step(false).scale == 0x1p127f);
    CHECK(machine.step(false).scale == 0x1p127f);
    CHECK(machine.scaler().growth_tracker == 0);
  }
  SUBCASE("a static scale stays, and skips unless it is unchecked") {
    Machine<B> checked(Scaler<StaticScale<512>>{});
    Machine<B> unchecked(Scaler<StaticScale<512, Unchecked>>{});
    Machine<B> none(Scaler<NoScaler>{});
    for (int i = 0; i < 30; ++i) {
      bool const with_inf = i % 3 == 1;
      StepResult const result = checked.step(with_inf);
      CHECK(result.scale == 512.0f);
      CHECK(result.taken == !with_inf);
      CHECK(result.found_inf == with_inf);
      CHECK(unchecked.step(with_inf).taken);
      CHECK(none.step(with_inf).taken);
    }
    CHECK(checked.scaler().steps_skipped == 10);
    CHECK(checked.scaler().steps_taken == 20);
    CHECK(unchecked.scaler().steps_taken == 30);
    CHECK(unchecked.scaler().scale == 512.0f);
    CHECK(none.scaler().scale == 1.0f);
  }
  SUBCASE("the learning rate on the device follows every schedule") {
    // Tolerance: pow and cos of the device and the host differ by an ulp or two of double.
    ScheduleSettings const schedules[] = {Constant{.lr = 0.3, .warmup = {.steps = 10}},
                                          StepDecay{.lr = 0.3, .gamma = 0.5, .milestones = {5, 17}},
                                          Poly{.lr = 0.3, .power = 0.9, .total_steps = 25, .min_lr = 0.01},
                                          Cosine{.lr = 0.3, .total_steps = 25, .warmup = {.steps = 4}},
                                          Cyclic{.lr = 0.3, .total_steps = 24, .cycles = 2}};
    typename B::Stream stream;
    for (ScheduleSettings const& schedule : schedules) {
      ScalerState scaler;
      StepState step = initial_step_state(schedule, EmaSettings{});
      auto* const scaler_memory = static_cast<ScalerState*>(B::allocate(stream, sizeof(scaler)));
      auto* const step_memory = static_cast<StepState*>(B::allocate(stream, sizeof(step)));
      B::copy_from_host(stream, scaler_memory, &scaler, sizeof(scaler));
      B::copy_from_host(stream, step_memory, &step, sizeof(step));
      for (int t = 0; t < 30; ++t) {
        B::copy_to_host(stream, &step, step_memory, sizeof(step));
        CHECK(step.step == t);
        CHECK(std::abs(step.learning_rate - learning_rate(schedule, t)) <= 1e-15);
        finish_step(stream, ScalerSettings{}, schedule, EmaSettings{}, scaler_memory, step_memory);
      }
      B::release(stream, scaler_memory);
      B::release(stream, step_memory);
    }
  }
}

}  // namespace scaler_tests
