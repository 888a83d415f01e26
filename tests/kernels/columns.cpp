// SPDX-License-Identifier: Apache-2.0
// The cases of columns_cases.hpp on the CPU.
#include <mixprec/backend/cpu/cpu.hpp>
#include <mixprec/backend/cpu/kernels.hpp>

#include "harness.hpp"

MIXPREC_TEST_BACKENDS(mixprec::Cpu)

#include "columns_cases.hpp"
