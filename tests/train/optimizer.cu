// SPDX-License-Identifier: Apache-2.0
// The cases of optimizer_cases.hpp on CUDA.
#include <mixprec/cuda.hpp>

#include "ops/harness.hpp"

MIXPREC_TEST_BACKEND(mixprec::Cuda)

#include "optimizer_cases.hpp"
