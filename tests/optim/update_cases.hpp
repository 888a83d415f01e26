// SPDX-License-Identifier: Apache-2.0
// SGD and AdamW against PyTorch's formulas in double, for every combination of types, on any backend.
#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <vector>

#include <mixprec/optim/adamw.hpp>
#include <mixprec/optim/ema.hpp>
#include <mixprec/optim/schedule.hpp>
#include <mixprec/optim/sgd.hpp>

#include "optimizer_memory.hpp"

namespace optimizer_tests {

/// What the oracle needs once a step.
struct OracleStep {
  OracleStep(SgdOptions const&, int t) : first(t == 0) {}
  OracleStep(AdamWOptions const& options, int t)
      : first(t == 0),
        correction1(1 - std::pow(options.beta1, t + 1)),
        correction2(1 - std::pow(options.beta2, t + 1)) {}
  bool first;
  double correction1 = 1, correction2 = 1;
};

/// One parameter of torch.optim.SGD or AdamW, in double, as their documentation writes it down.
struct Oracle {
  double parameter = 0, state1 = 0, state2 = 0, average = 0;

  void step(SgdOptions const& options, double lr, double decay, double gradient, OracleStep const& at) {
    double d = gradient + decay * parameter;
    if (options.momentum != 0) {
      state1 = at.first ? d : options.momentum * state1 + (1 - options.dampening) * d;
      d = options.nesterov ? d + options.momentum * state1 : state1;
    }
    parameter -= lr * d;
  }
  void step(AdamWOptions const& options, double lr, double decay, double gradient, OracleStep const& at) {
    parameter -= lr * decay * parameter;
    state1 = options.beta1 * state1 + (1 - options.beta1) * gradient;
    state2 = options.beta2 * state2 + (1 - options.beta2) * gradient * gradient;
    parameter -= lr * (state1 / at.correction1) / (std::sqrt(state2 / at.correction2) + options.eps);
  }
  void average_with(double decay) { average = decay * average + (1 - decay) * parameter; }

  /// As stored in M between steps.
  template <class M>
  void round_to() {
    for (double* value : {&parameter, &state1, &state2, &average}) *value = convert<double>(convert<M>(*value));
  }
};

struct UpdateCase {
  bool with_working = true, with_ema = true, with_runs = true;
  float scale = 1024.0f;
  int steps = 20;
  std::int64_t size = 16 * 501;
};

/// Steps of B's kernels beside the oracle. Tolerance: each step rounds a handful of times at the size of the parameter
/// (below 8) and of the update (below 16 times the learning rate); AdamW's quotient amplifies the rounding of its
/// moments by at most sqrt(steps / (1 - beta2)); the norm is rounded in accumulator_t<G>. A 16-bit M also rounds what
/// the oracle stores: then all but the few elements next to a midpoint are equal bit for bit.
template <class B, class M, class G, class W, class Options>
void follows_pytorch(Options const& options, UpdateCase const& which) {
  int const steps = which.steps;
  std::int64_t const size = which.size;
  Fixture<B, M, G, W> fixture(7, which.scale, size);
  auto& stream = fixture.stream;
  ScheduleSettings const schedule = Poly{.lr = 0.02, .power = 0.9, .total_steps = steps};
  EmaSettings const ema = Ema{.decay = 0.9, .warm_up = 3.0};
  ScalerSettings const scaler_settings{.dynamic = false};
  fixture.step.set({initial_step_state(schedule, ema)});
  auto const segment = fixture.segment(state_buffers(options), which.with_working, which.with_ema, which.with_runs);
  auto const settings = optimizer_settings(options, true);

  std::vector<Oracle> oracle(size);
  for (std::int64_t i = 0; i < size; ++i) oracle[i].parameter = oracle[i].average = convert<double>(fixture.start[i]);

  for (int t = 0; t < steps; ++t) {
    auto const gradient = random_values<G>(fixture.generator, size, 0.5 * which.scale);
    fixture.gradient.set(gradient);
    begin_step(stream, fixture.scaler.data(), fixture.step.data());
    check_gradients(stream, fixture.gradient.data(), size, needs_norm(options), fixture.scaler.data(),
                    fixture.step.data());
    optimizer_update(stream, settings, segment, fixture.scaler.data(), fixture.step.data());
    finish_step(stream, scaler_settings, schedule, ema, fixture.scaler.data(), fixture.step.data());

    // As in PyTorch, gradients are multiplied by the reciprocal, which is a float whatever the gradients are.
    double const unscale = static_cast<float>(1.0 / which.scale);
    double norm = 0;
    for (G const g : gradient) norm += convert<double>(g) * unscale * (convert<double>(g) * unscale);
    norm = std::sqrt(norm);
    double const clip = options.max_norm > 0 ? std::min(1.0, options.max_norm / (norm + 1e-6)) : 1.0;
    double const lr = 0.02 * std::pow(1.0 - static_cast<double>(t) / steps, 0.9);
    double const decay = std::min(0.9, (1.0 + t) / (3.0 + t));
    OracleStep const oracle_step(options, t);
    for (auto const& run : fixture.host_runs) {
      for (std::int64_t i = run.begin; i < run.end; ++i) {
        double const run_lr = which.with_runs ? lr * run.lr_multiplier : lr;
        double const run_decay = which.with_runs ? options.weight_decay * run.decay_multiplier : options.weight_decay;
        oracle[i].step(options, run_lr, run_decay, convert<double>(gradient[i]) * unscale * clip, oracle_step);
        if constexpr (sizeof(M) == 2) oracle[i].template round_to<M>();
        oracle[i].average_with(decay);
        if constexpr (sizeof(M) == 2) oracle[i].template round_to<M>();
      }
    }
  }

  double const eps = float_traits_v<M>.eps;
  double const norm_eps = options.max_norm > 0 ? float_traits_v<accumulator_t<G>>.eps : 0.0;
  double const tolerance = steps * (eps * (4 * 8.0 + 0.04 * 16 * std::sqrt(steps / 0.001)) + norm_eps * 8 * 0.04 * 16);
  auto const master = fixture.master.get();
  auto const average = fixture.ema.get();
  auto const working = fixture.working.get();
  double worst = 0, worst_average = 0;
  std::int64_t wrong_working = 0, off_midpoint = 0;
  for (std::int64_t i = 0; i < size; ++i) {
    double const parameter = convert<double>(master[i]), mean = convert<double>(average[i]);
    double const wanted_mean = which.with_ema ? oracle[i].average : convert<double>(fixture.start[i]);
    worst = std::max(worst, std::abs(parameter - oracle[i].parameter));
    worst_average = std::max(worst_average, std::abs(mean - wanted_mean));
    off_midpoint += parameter != oracle[i].parameter;
    W const expected = convert<W>(master[i]);
    wrong_working += which.with_working && std::memcmp(&working[i], &expected, sizeof(W)) != 0;
    // A maximum does not see NaN.
    if (!(std::abs(parameter) < 1e3) || !(std::abs(mean) < 1e3)) worst = std::numeric_limits<double>::infinity();
  }
  CHECK(worst <= tolerance);
  CHECK(worst_average <= tolerance);
  CHECK(wrong_working == 0);
  // A value lies within float's roundings of a midpoint once in about eps(M) / (16 eps(float)) elements and steps.
  if constexpr (sizeof(M) == 2) CHECK(off_midpoint <= size / 16);
  CHECK(fixture.guards_intact());
  StepState const end = fixture.step.get()[0];
  CHECK(end.step == steps);
  CHECK(end.learning_rate == doctest::Approx(0.0));
  CHECK(fixture.scaler.get()[0].steps_taken == steps);
}

template <class B, class M, class G, class W, class Options>
void follows_pytorch_in_all_forms(Options options) {
  follows_pytorch<B, M, G, W>(options, {});
  follows_pytorch<B, M, G, W>(options, {.with_working = false, .with_ema = false, .with_runs = false});
  follows_pytorch<B, M, G, W>(options, {.scale = 1000.0f});  // not a power of two: unscaling rounds
  options.max_norm = 3.0;
  follows_pytorch<B, M, G, W>(options, {});
}

/// So large that a thread of a GPU visits several places and crosses runs between them.
template <class B, class M, class G, class W, class Options>
void follows_pytorch_on_a_large_segment(Options const& options) {
  follows_pytorch<B, M, G, W>(options, {.steps = 2, .size = 16 * 90001});
}

/// A step with an inf or NaN anywhere changes no byte; without a check it is taken.
template <class B, class M, class G, class W, class Options>
void skips_as_a_whole(Options const& options) {
  ScheduleSettings const schedule = Constant{.lr = 0.1};
  EmaSettings const ema = Ema{.decay = 0.5};
  for (bool const check : {true, false}) {
    for (double const bad : {std::numeric_limits<double>::infinity(), -std::numeric_limits<double>::infinity(),
                             std::numeric_limits<double>::quiet_NaN()}) {
      Fixture<B, M, G, W> fixture(11, 512.0f);
      auto& stream = fixture.stream;
      fixture.step.set({initial_step_state(schedule, ema)});
      auto gradient = random_values<G>(fixture.generator, fixture.size, 100.0);
      gradient[16 * 300 + 3] = convert<G>(bad);
      fixture.gradient.set(gradient);
      auto const before = fixture.all_bytes();
      auto const segment = fixture.segment(state_buffers(options), true, true, true);
      begin_step(stream, fixture.scaler.data(), fixture.step.data());
      check_gradients(stream, fixture.gradient.data(), fixture.size, needs_norm(options), fixture.scaler.data(),
                      fixture.step.data());
      optimizer_update(stream, optimizer_settings(options, check), segment, fixture.scaler.data(), fixture.step.data());
      finish_step(stream, ScalerSettings{.dynamic = false, .check = check}, schedule, ema, fixture.scaler.data(),
                  fixture.step.data());
      ScalerState const scaler = fixture.scaler.get()[0];
      StepState const step = fixture.step.get()[0];
      CHECK(scaler.found_inf == 1.0f);
      CHECK((fixture.all_bytes() == before) == check);
      CHECK(step.step == (check ? 0 : 1));
      CHECK(step.last_taken == (check ? 0 : 1));
      CHECK(scaler.steps_skipped == (check ? 1 : 0));
      CHECK(scaler.steps_taken == (check ? 0 : 1));
      CHECK(fixture.guards_intact());
    }
  }
}

/// Padding stays zero, so that a flat arena can be saved, averaged and normed as a whole.
template <class B, class Options>
void keeps_padding_zero(Options const& options) {
  ScheduleSettings const schedule = Constant{.lr = 0.1};
  Fixture<B, float, float16, float16> fixture(3, 8.0f);
  auto& stream = fixture.stream;
  fixture.step.set({initial_step_state(schedule, EmaSettings{})});
  auto gradient = random_values<float16>(fixture.generator, fixture.size, 1.0);
  auto master = fixture.start;
  for (std::int64_t i = fixture.size - 9; i < fixture.size; ++i) {
    gradient[i] = float16(0.0f);
    master[i] = 0.0f;
  }
  fixture.gradient.set(gradient);
  fixture.master.set(master);
  fixture.ema.set(master);
  for (int t = 0; t < 3; ++t) {
    begin_step(stream, fixture.scaler.data(), fixture.step.data());
    optimizer_update(stream, optimizer_settings(options, true),
                     fixture.segment(state_buffers(options), true, true, true), fixture.scaler.data(),
                     fixture.step.data());
    finish_step(stream, ScalerSettings{.dynamic = false}, schedule, EmaSettings{}, fixture.scaler.data(),
                fixture.step.data());
  }
  auto const after = fixture.master.get();
  auto const working = fixture.working.get();
  auto const average = fixture.ema.get();
  auto const state1 = fixture.state1.get();
  for (std::int64_t i = fixture.size - 9; i < fixture.size; ++i) {
    CHECK(after[i] == 0.0f);
    CHECK(static_cast<float>(working[i]) == 0.0f);
    CHECK(average[i] == 0.0f);
    CHECK(state1[i] == 0.0f);
  }
  CHECK(after[fixture.size - 10] != master[fixture.size - 10]);
}

}  // namespace optimizer_tests
