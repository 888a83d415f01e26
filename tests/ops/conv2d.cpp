// SPDX-License-Identifier: Apache-2.0
// The cases of conv2d_cases.hpp on the CPU.
#include "harness.hpp"

MIXPREC_TEST_BACKEND(mixprec::Cpu)

#include "conv2d_cases.hpp"
