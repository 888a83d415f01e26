// SPDX-License-Identifier: Apache-2.0
// The cases of columns_cases.hpp on CUDA.
#include <mixprec/cuda.hpp>

#include "harness.hpp"

MIXPREC_TEST_BACKENDS(mixprec::Cuda)

#include "columns_cases.hpp"
