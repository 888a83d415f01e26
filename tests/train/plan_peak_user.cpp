// SPDX-License-Identifier: Apache-2.0
// The plan's peak of user_model.hpp against what runs on the CPU.
#include "user_model.hpp"

MIXPREC_TEST_BACKEND(mixprec::Cpu)

namespace mixprec::test {
MIXPREC_PLAN_PEAK_TEST(UserNet, user_input, 4)
MIXPREC_PLAN_PEAK_TEST(ReadTwice, read_twice_input, 64)
MIXPREC_PLAN_TWO_PASSES_TEST(OneLayer, read_twice_input, 64)
}  // namespace mixprec::test
