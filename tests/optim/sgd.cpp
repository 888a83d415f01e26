// SPDX-License-Identifier: Apache-2.0
// SGD on the CPU, and its options.
#include <mixprec/backend/cpu/cpu.hpp>
#include <mixprec/backend/cpu/optimizer.hpp>

#include "sgd_cases.hpp"

TEST_CASE("SGD on the CPU follows PyTorch and skips whole steps") { optimizer_tests::sgd_cases<mixprec::Cpu>(); }

TEST_CASE("Sgd refuses options that cannot work and names them") {
  using namespace mixprec;
  double const nan = std::numeric_limits<double>::quiet_NaN();
  CHECK_THROWS_WITH_AS(optimizer_settings(SgdOptions{.momentum = 1.0}, true), doctest::Contains(".momentum is 1"),
                       Error);
  CHECK_THROWS_WITH_AS(optimizer_settings(SgdOptions{.momentum = -0.1}, true), doctest::Contains(".momentum"), Error);
  CHECK_THROWS_WITH_AS(optimizer_settings(SgdOptions{.momentum = nan}, true), doctest::Contains(".momentum"), Error);
  CHECK_THROWS_WITH_AS(optimizer_settings(SgdOptions{.dampening = 1.5}, true), doctest::Contains(".dampening"), Error);
  CHECK_THROWS_WITH_AS(optimizer_settings(SgdOptions{.weight_decay = -1}, true), doctest::Contains(".weight_decay"),
                       Error);
  CHECK_THROWS_WITH_AS(optimizer_settings(SgdOptions{.max_norm = nan}, true), doctest::Contains(".max_norm"), Error);
  CHECK_THROWS_WITH_AS(optimizer_settings(SgdOptions{.nesterov = true}, true), doctest::Contains(".nesterov needs"),
                       Error);
  CHECK_THROWS_WITH_AS(optimizer_settings(SgdOptions{.momentum = 0.9, .dampening = 0.1, .nesterov = true}, true),
                       doctest::Contains(".nesterov needs"), Error);
  CHECK_NOTHROW(optimizer_settings(SgdOptions{.momentum = 0.9f, .nesterov = true}, false));
}

TEST_CASE("an update refuses a segment whose size is not padded") {
  using namespace mixprec;
  cpu::Stream stream;
  ScalerState const scaler;
  StepState const step;
  Segment<float, float, float> segment{};
  segment.size = 17;
  CHECK_THROWS_WITH_AS(sgd_update(stream, SgdSettings{}, segment, &scaler, &step), doctest::Contains("17 elements"),
                       Error);
}
