// SPDX-License-Identifier: Apache-2.0
// The second half of the cases of inference_cases.hpp on the CPU.
#include "ops/harness.hpp"

MIXPREC_TEST_BACKEND(mixprec::Cpu)

#define MIXPREC_TEST_SECOND_HALF
#include "inference_cases.hpp"
