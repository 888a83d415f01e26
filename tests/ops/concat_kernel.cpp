// SPDX-License-Identifier: Apache-2.0
// The cases of concat_kernel_cases.hpp on the CPU.
#include <mixprec/backend/cpu/concat.hpp>
#include <mixprec/backend/cpu/cpu.hpp>

#include "kernels/harness.hpp"

MIXPREC_TEST_BACKENDS(mixprec::Cpu)

#include "concat_kernel_cases.hpp"
