// SPDX-License-Identifier: Apache-2.0
// The second half of the cases of inference_cases.hpp on CUDA.
#include <mixprec/cuda.hpp>

#include "ops/harness.hpp"

MIXPREC_TEST_BACKEND(mixprec::Cuda)

#define MIXPREC_TEST_SECOND_HALF
#include "inference_cases.hpp"
