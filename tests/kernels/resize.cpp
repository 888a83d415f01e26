// SPDX-License-Identifier: Apache-2.0
// The cases of resize_cases.hpp on the CPU.
#include <mixprec/backend/cpu/cpu.hpp>
#include <mixprec/backend/cpu/kernels.hpp>

#include "harness.hpp"

MIXPREC_TEST_BACKENDS(mixprec::Cpu)

#include "resize_cases.hpp"

TEST_CASE("cross-entropy of a resize on the CPU refuses a label that is no class") {
  mixprec::cpu::Stream stream;
  mixprec::ResizeGeometry const g{1, 2, mixprec::ResizeAxis::of(1, 2, false), mixprec::ResizeAxis::of(1, 2, false)};
  float const logits[2] = {0, 1};
  std::int32_t const target[4] = {0, 1, 2, 0};
  float lse[4], total, loss;
  CHECK_THROWS_AS(resize_cross_entropy_forward(stream, g, logits, target, nullptr, 255, lse, &total, &loss),
                  mixprec::Error);
}
