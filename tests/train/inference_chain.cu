// SPDX-License-Identifier: Apache-2.0
// The first half of the cases of inference_cases.hpp on CUDA: one file would take too long to compile.
#include <mixprec/cuda.hpp>

#include "ops/harness.hpp"

MIXPREC_TEST_BACKEND(mixprec::Cuda)

#include "inference_cases.hpp"
