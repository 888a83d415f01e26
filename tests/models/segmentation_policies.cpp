// SPDX-License-Identifier: Apache-2.0
// The cases of segmentation_policies_cases.hpp on the CPU.
#include "ops/harness.hpp"

MIXPREC_TEST_BACKEND(mixprec::Cpu)

#include "segmentation_policies_cases.hpp"
