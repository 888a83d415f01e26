// SPDX-License-Identifier: Apache-2.0
// The cases of concat_kernel_cases.hpp on CUDA.
#include <mixprec/backend/cuda/concat.cuh>
#include <mixprec/backend/cuda/cuda.hpp>

#include "kernels/harness.hpp"

MIXPREC_TEST_BACKENDS(mixprec::Cuda)

#include "concat_kernel_cases.hpp"
