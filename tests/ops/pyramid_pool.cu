// SPDX-License-Identifier: Apache-2.0
// The cases of pyramid_pool_cases.hpp on CUDA.
#include <mixprec/cuda.hpp>

#include "harness.hpp"

MIXPREC_TEST_BACKEND(mixprec::Cuda)

#include "pyramid_pool_cases.hpp"
