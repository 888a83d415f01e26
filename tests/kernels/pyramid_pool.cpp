// SPDX-License-Identifier: Apache-2.0
// The cases of pyramid_pool_cases.hpp on the CPU.
#include <mixprec/backend/cpu/cpu.hpp>
#include <mixprec/backend/cpu/kernels.hpp>

#include "harness.hpp"

MIXPREC_TEST_BACKENDS(mixprec::Cpu)

#include "pyramid_pool_cases.hpp"
