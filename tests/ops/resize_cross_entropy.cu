// SPDX-License-Identifier: Apache-2.0
// The cases of resize_cross_entropy_cases.hpp on CUDA.
#include <mixprec/cuda.hpp>

#include "harness.hpp"

MIXPREC_TEST_BACKEND(mixprec::Cuda)

#include "resize_cross_entropy_cases.hpp"
