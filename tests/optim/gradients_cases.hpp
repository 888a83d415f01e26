// SPDX-License-Identifier: Apache-2.0
// The finite check and the norm of gradients, on any backend.
#pragma once

#include <doctest/doctest.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "optimizer_memory.hpp"

namespace optimizer_tests {

template <class B, class G>
void finds_what_is_not_finite() {
  typename B::Stream stream;
  std::mt19937 generator(5);
  Buffer<B, ScalerState> scaler(stream, std::vector<ScalerState>(1));
  Buffer<B, StepState> step(stream, std::vector<StepState>(1));
  G const largest = convert<G>(float_traits_v<G>.max);
  for (std::int64_t const n : {1, 7, 8, 16, 255, 4096, 4099, 100003}) {
    std::vector<G> clean(n, largest);
    Buffer<B, G> gradient(stream, clean);
    auto const found = [&](bool norm) {
      begin_step(stream, scaler.data(), step.data());
      check_gradients(stream, static_cast<G const*>(gradient.data()), n, norm, scaler.data(), step.data());
      return scaler.get()[0].found_inf;
    };
    CHECK(found(false) == 0.0f);
    CHECK(found(true) == 0.0f);
    for (std::int64_t const at : {std::int64_t{0}, n / 2, n - 1}) {
      for (double const bad : {std::numeric_limits<double>::infinity(), -std::numeric_limits<double>::infinity(),
                               std::numeric_limits<double>::quiet_NaN()}) {
        auto damaged = clean;
        damaged[at] = convert<G>(bad);
        gradient.set(damaged);
        CHECK(found(false) == 1.0f);
        CHECK(found(true) == 1.0f);
      }
    }
    // What one segment has set, a clean one after it does not clear; begin_step does.
    begin_step(stream, scaler.data(), step.data());
    check_gradients(stream, static_cast<G const*>(gradient.data()), n, false, scaler.data(), step.data());
    gradient.set(clean);
    check_gradients(stream, static_cast<G const*>(gradient.data()), n, false, scaler.data(), step.data());
    CHECK(scaler.get()[0].found_inf == 1.0f);
    CHECK(found(false) == 0.0f);
  }
}

/// Tolerance: squares and sums inside a pack of 16 bytes round in accumulator_t<G>; everything above in double.
template <class B, class G>
void sums_the_norm_over_segments() {
  typename B::Stream stream;
  std::mt19937 generator(6);
  ScalerState initial;
  initial.scale = 4096.0f;
  Buffer<B, ScalerState> scaler(stream, std::vector<ScalerState>{initial});
  Buffer<B, StepState> step(stream, std::vector<StepState>(1));
  auto const first = random_values<G>(generator, 300001, 1000.0), second = random_values<G>(generator, 37, 3000.0);
  Buffer<B, G> first_memory(stream, first), second_memory(stream, second);
  double expected = 0;
  for (G const g : first) expected += std::pow(convert<double>(g) / 4096.0, 2);
  for (G const g : second) expected += std::pow(convert<double>(g) / 4096.0, 2);
  double results[2];
  for (double& result : results) {
    begin_step(stream, scaler.data(), step.data());
    CHECK(step.get()[0].grad_norm_squared == 0.0);
    check_gradients(stream, static_cast<G const*>(first_memory.data()), static_cast<std::int64_t>(first.size()), true,
                    scaler.data(), step.data());
    check_gradients(stream, static_cast<G const*>(second_memory.data()), static_cast<std::int64_t>(second.size()), true,
                    scaler.data(), step.data());
    result = step.get()[0].grad_norm_squared;
  }
  CHECK(results[0] == results[1]);
  double const eps = float_traits_v<accumulator_t<G>>.eps;
  CHECK(std::abs(results[0] - expected) <= expected * (8 * eps + 300001 * 0x1p-53));
}

template <class B>
void gradients_cases() {
  SUBCASE("finds what is not finite, and only that") {
    finds_what_is_not_finite<B, float16>();
    finds_what_is_not_finite<B, bfloat16>();
    finds_what_is_not_finite<B, float>();
    finds_what_is_not_finite<B, double>();
  }
  SUBCASE("sums the norm over segments and repeats bit for bit") {
    sums_the_norm_over_segments<B, float16>();
    sums_the_norm_over_segments<B, bfloat16>();
    sums_the_norm_over_segments<B, float>();
    sums_the_norm_over_segments<B, double>();
  }
}

}  // namespace optimizer_tests
