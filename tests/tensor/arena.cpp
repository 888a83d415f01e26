// SPDX-License-Identifier: Apache-2.0
// The cases of arena_cases.hpp on the CPU.
#include "ops/harness.hpp"

MIXPREC_TEST_BACKEND(mixprec::Cpu)

#include "arena_cases.hpp"
