// SPDX-License-Identifier: Apache-2.0
// The cases of inference_cases.hpp on CUDA.
#include <mixprec/cuda.hpp>

#include "ops/harness.hpp"

MIXPREC_TEST_BACKEND(mixprec::Cuda)

#include "inference_cases.hpp"
