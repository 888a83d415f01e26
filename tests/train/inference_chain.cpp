// SPDX-License-Identifier: Apache-2.0
// The first half of the cases of inference_cases.hpp on the CPU: one file would take too long to compile.
#include "ops/harness.hpp"

MIXPREC_TEST_BACKEND(mixprec::Cpu)

#include "inference_cases.hpp"
