// SPDX-License-Identifier: Apache-2.0
// The cases of concat_joined_cases.hpp on the CPU.
#include "harness.hpp"

MIXPREC_TEST_BACKEND(mixprec::Cpu)

#include "concat_joined_cases.hpp"
