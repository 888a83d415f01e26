// SPDX-License-Identifier: Apache-2.0
// The plan's peak of sequential_model.hpp against what runs on the CPU.
#include "sequential_model.hpp"

MIXPREC_TEST_BACKEND(mixprec::Cpu)

namespace mixprec::test {
MIXPREC_PLAN_PEAK_TEST(EveryModule, sequential_input, 5)
}  // namespace mixprec::test
