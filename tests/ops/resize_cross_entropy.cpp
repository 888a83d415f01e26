// SPDX-License-Identifier: Apache-2.0
// The cases of resize_cross_entropy_cases.hpp on the CPU.
#include "harness.hpp"

MIXPREC_TEST_BACKEND(mixprec::Cpu)

#include "resize_cross_entropy_cases.hpp"
