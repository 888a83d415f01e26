// SPDX-License-Identifier: Apache-2.0
// The plan's rows of sequential_model.hpp against what runs on CUDA.
#include <mixprec/cuda.hpp>

#include "sequential_model.hpp"

MIXPREC_TEST_BACKEND(mixprec::Cuda)

namespace mixprec::test {
MIXPREC_PLAN_ROWS_TEST(EveryModule, sequential_input, 5)
}  // namespace mixprec::test
