// SPDX-License-Identifier: Apache-2.0
// The cases of pyramid_pool_cases.hpp on the CPU.
#include "harness.hpp"

MIXPREC_TEST_BACKEND(mixprec::Cpu)

#include "pyramid_pool_cases.hpp"
