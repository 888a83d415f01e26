// SPDX-License-Identifier: Apache-2.0
// The cases of segmentation_policies_cases.hpp on CUDA.
#include <mixprec/cuda.hpp>

#include "ops/harness.hpp"

MIXPREC_TEST_BACKEND(mixprec::Cuda)

#include "segmentation_policies_cases.hpp"
