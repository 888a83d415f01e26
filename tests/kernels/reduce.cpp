// SPDX-License-Identifier: Apache-2.0
// The cases of reduce_cases.hpp on the CPU.
#include <mixprec/backend/cpu/cpu.hpp>
#include <mixprec/backend/cpu/kernels.hpp>

#include "harness.hpp"

MIXPREC_TEST_BACKENDS(mixprec::Cpu)

#include "reduce_cases.hpp"

TEST_CASE("cross-entropy on the CPU names a target that is no class") {
  mixprec::cpu::Stream stream;
  float const logits[4] = {1, 2, 3, 4};
  std::int32_t const target[2] = {1, 2};
  float lse[2], weight, loss;
  CHECK_THROWS_WITH_AS(cross_entropy_forward(stream, 2, 2, logits, target, nullptr, -100, lse, &weight, &loss),
                       "mixprec: cross_entropy: target 2 of row 1 is no class of 2. Give labels in [0, classes), or "
                       "-100 for rows to leave out.",
                       mixprec::Error);
}
