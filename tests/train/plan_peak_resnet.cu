// SPDX-License-Identifier: Apache-2.0
// The plan's peak of resnet_model.hpp against what runs on CUDA.
#include <mixprec/cuda.hpp>

#include "resnet_model.hpp"

MIXPREC_TEST_BACKEND(mixprec::Cuda)

namespace mixprec::test {
MIXPREC_PLAN_PEAK_TEST(SmallResNet, resnet_input, 10)
}  // namespace mixprec::test
