// SPDX-License-Identifier: Apache-2.0
// The plan's rows of user_model.hpp against what runs on the CPU.
#include "user_model.hpp"

MIXPREC_TEST_BACKEND(mixprec::Cpu)

namespace mixprec::test {
MIXPREC_PLAN_ROWS_TEST(UserNet, user_input, 4)
MIXPREC_PLAN_ROWS_TEST(ReadTwice, read_twice_input, 64)
}  // namespace mixprec::test
