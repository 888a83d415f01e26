// SPDX-License-Identifier: Apache-2.0
// The cases of batch_norm_cases.hpp on the CPU.
#include "harness.hpp"

MIXPREC_TEST_BACKEND(mixprec::Cpu)

#include "batch_norm_cases.hpp"
