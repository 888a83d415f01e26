// SPDX-License-Identifier: Apache-2.0
// The cases of concat_joined_cases.hpp on CUDA.
#include <mixprec/cuda.hpp>

#include "harness.hpp"

MIXPREC_TEST_BACKEND(mixprec::Cuda)

#include "concat_joined_cases.hpp"
