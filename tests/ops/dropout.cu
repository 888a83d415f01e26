// SPDX-License-Identifier: Apache-2.0
// The cases of dropout_cases.hpp on CUDA.
#include <mixprec/cuda.hpp>

#include "harness.hpp"

MIXPREC_TEST_BACKEND(mixprec::Cuda)

#include "dropout_cases.hpp"
