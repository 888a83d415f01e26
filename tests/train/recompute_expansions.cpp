// SPDX-License-Identifier: Apache-2.0
// The cases of recompute_expansions_cases.hpp on the CPU.
#include "ops/harness.hpp"

MIXPREC_TEST_BACKEND(mixprec::Cpu)

#include "recompute_expansions_cases.hpp"
