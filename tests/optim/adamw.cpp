// SPDX-License-Identifier: Apache-2.0
// AdamW on the CPU, and its options.
#include <mixprec/backend/cpu/cpu.hpp>
#include <mixprec/backend/cpu/optimizer.hpp>

#include "adamw_cases.hpp"

TEST_CASE("AdamW on the CPU follows PyTorch and skips whole steps") { optimizer_tests::adamw_cases<mixprec::Cpu>(); }

TEST_CASE("AdamW refuses options that cannot work and names them") {
  using namespace mixprec;
  CHECK_THROWS_WITH_AS(optimizer_settings(AdamWOptions{.beta1 = 1.0}, true), doctest::Contains(".beta1 is 1"), Error);
  CHECK_THROWS_WITH_AS(optimizer_settings(AdamWOptions{.beta2 = -0.5}, true), doctest::Contains(".beta2"), Error);
  CHECK_THROWS_WITH_AS(optimizer_settings(AdamWOptions{.eps = 0.0}, true), doctest::Contains(".eps"), Error);
  CHECK_THROWS_WITH_AS(optimizer_settings(AdamWOptions{.eps = 1e-50}, true), doctest::Contains(".eps"), Error);
  CHECK_THROWS_WITH_AS(optimizer_settings(AdamWOptions{.weight_decay = -1}, true), doctest::Contains(".weight_decay"),
                       Error);
  CHECK_NOTHROW(optimizer_settings(AdamWOptions{}, true));
}
