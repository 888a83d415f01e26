// SPDX-License-Identifier: Apache-2.0
// The plan's peak of resnet_model.hpp against what runs on the CPU.
#include "resnet_model.hpp"

MIXPREC_TEST_BACKEND(mixprec::Cpu)

namespace mixprec::test {
MIXPREC_PLAN_PEAK_TEST(SmallResNet, resnet_input, 10)
}  // namespace mixprec::test
