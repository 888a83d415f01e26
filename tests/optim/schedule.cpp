// SPDX-License-Identifier: Apache-2.0
// Schedules and EMA against the formulas that PyTorch and MMCV document.
#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <vector>

#include <mixprec/optim/ema.hpp>
#include <mixprec/optim/schedule.hpp>

using namespace mixprec;

namespace {
/// Each value is a few operations in double away from the closed form.
template <class Formula>
void follows(ScheduleSettings const& schedule, int steps, Formula const& formula) {
  double worst = 0;
  for (int t = 0; t < steps; ++t) worst = std::max(worst, std::abs(learning_rate(schedule, t) - formula(t)));
  CHECK(worst <= 1e-15);
}
double const pi = std::acos(-1.0);
}  // namespace

TEST_CASE("Constant stays") {
  follows(Constant{.lr = 0.25}, 100, [](int) { return 0.25; });
}

TEST_CASE("StepDecay decays every so many steps, at milestones, and not below min_lr") {
  follows(StepDecay{.lr = 0.4, .gamma = 0.5, .every = 7}, 100, [](int t) { return 0.4 * std::pow(0.5, t / 7); });
  follows(StepDecay{.lr = 0.4, .milestones = {10, 30}}, 100, [](int t) {
    return t < 10 ? 0.4 : t < 30 ? 0.04 : 0.004;
  });
  follows(StepDecay{.lr = 0.4, .milestones = {10, 30}, .min_lr = 0.01}, 100, [](int t) {
    return t < 10 ? 0.4 : t < 30 ? 0.04 : 0.01;
  });
}

TEST_CASE("Poly and Cosine reach min_lr at total_steps and stay there") {
  follows(Poly{.lr = 0.4, .power = 0.9, .total_steps = 80, .min_lr = 0.001}, 120,
          [](int t) { return 0.001 + (0.4 - 0.001) * std::pow(1.0 - std::min(t, 80) / 80.0, 0.9); });
  follows(Cosine{.lr = 0.4, .total_steps = 80, .min_lr = 0.001}, 120,
          [](int t) { return 0.001 + (0.4 - 0.001) * (1 + std::cos(pi * std::min(t, 80) / 80.0)) / 2; });
  CHECK(learning_rate(Poly{.lr = 0.4, .total_steps = 80}, 80) == 0.0);
  CHECK(learning_rate(Cosine{.lr = 0.4, .total_steps = 80}, 1000) == doctest::Approx(0.0));
}

TEST_CASE("Cyclic rises to its top and falls to its end in every cycle") {
  // MMCV: 103 steps in 2 cycles of 51, 0.3 of 51 is 15 steps up.
  auto const formula = [](bool linear) {
    return [linear](int t) {
      if (t >= 103) return 0.02 * 0.01;
      int const at = t % 51;
      double const from = at < 15 ? 0.02 : 0.02 * 5, to = at < 15 ? 0.02 * 5 : 0.02 * 0.01;
      double const part = at < 15 ? at / 15.0 : (at - 15) / 36.0;
      return linear ? from + (to - from) * part : to + 0.5 * (from - to) * (std::cos(pi * part) + 1);
    };
  };
  Cyclic cyclic{.lr = 0.02, .total_steps = 103, .ratio_up = 5, .ratio_down = 0.01, .cycles = 2, .up_fraction = 0.3};
  follows(cyclic, 130, formula(false));
  cyclic.anneal = Anneal::linear;
  follows(cyclic, 130, formula(true));
  CHECK(learning_rate(cyclic, 15) == doctest::Approx(0.1));
}

TEST_CASE("warm-up multiplies any schedule and ends exactly") {
  follows(Constant{.lr = 0.3, .warmup = {.steps = 20, .ratio = 0.001}}, 40,
          [](int t) { return t < 20 ? 0.3 * (0.001 + 0.999 * t / 20.0) : 0.3; });
  Cosine const cosine{.lr = 0.3, .total_steps = 50};
  Cosine const warmed{.lr = 0.3, .total_steps = 50, .warmup = {.steps = 10, .ratio = 0.5}};
  follows(warmed, 60, [&](int t) { return learning_rate(cosine, t) * (t < 10 ? 0.5 + 0.05 * t : 1.0); });
}

TEST_CASE("schedules refuse settings that cannot work and name them") {
  auto const refuses = [](auto const& schedule, char const* words) {
    CHECK_THROWS_WITH_AS(static_cast<void>(ScheduleSettings(schedule)), doctest::Contains(words), Error);
  };
  refuses(Constant{.lr = -1.0}, "Constant: .lr is -1");
  refuses(Constant{.lr = std::numeric_limits<double>::quiet_NaN()}, "Constant: .lr is nan");
  refuses(Constant{.warmup = {.steps = -3}}, ".warmup.steps is -3");
  refuses(Constant{.warmup = {.steps = 3, .ratio = 2.0}}, ".warmup.ratio is 2");
  refuses(Poly{.lr = 0.1}, "Poly: .total_steps is 0");
  refuses(Poly{.power = 0.0, .total_steps = 5}, "Poly: .power is 0");
  refuses(Cosine{.lr = 0.1, .total_steps = 5, .min_lr = 0.2}, "Cosine: .min_lr is 0.2");
  refuses(StepDecay{.lr = 0.1}, "neither .every nor .milestones");
  refuses(StepDecay{.gamma = 0.0, .every = 5}, "StepDecay: .gamma is 0");
  refuses(StepDecay{.milestones = {5, -5}}, "StepDecay: .milestones is -5");
  refuses(Cyclic{.total_steps = 5, .cycles = 6}, "Cyclic: .cycles is 6");
  refuses(Cyclic{.total_steps = 5, .up_fraction = 1.0}, "Cyclic: .up_fraction is 1");
}

TEST_CASE("the EMA's decay warms up and ends at its setting") {
  EmaSettings const plain = Ema{.decay = 0.99}, warmed = Ema{.decay = 0.99, .warm_up = 10};
  CHECK(ema_decay(plain, 0) == 0.99);
  CHECK(ema_decay(warmed, 0) == doctest::Approx(0.1));
  CHECK(ema_decay(warmed, 90) == doctest::Approx(0.91));
  CHECK(ema_decay(warmed, 100000) == 0.99);
  CHECK_THROWS_WITH_AS(static_cast<void>(EmaSettings(Ema{.decay = 1.0})), doctest::Contains(".decay is 1"), Error);
  CHECK_THROWS_WITH_AS(static_cast<void>(EmaSettings(Ema{.warm_up = 0.5})), doctest::Contains(".warm_up is 0.5"),
                       Error);
}

TEST_CASE("a resumed run starts with the learning rate of its step") {
  ScheduleSettings const schedule = Poly{.lr = 0.4, .total_steps = 80};
  StepState const state = initial_step_state(schedule, Ema{.decay = 0.9, .warm_up = 10}, 20);
  CHECK(state.step == 20);
  CHECK(state.learning_rate == doctest::Approx(0.3));
  CHECK(state.ema_decay == doctest::Approx(0.7));
}
