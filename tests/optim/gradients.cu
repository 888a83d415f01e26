// SPDX-License-Identifier: Apache-2.0
// The finite check and the norm of gradients on CUDA.
#include <mixprec/cuda.hpp>

#include "gradients_cases.hpp"

TEST_CASE("CUDA finds gradients that are not finite and sums the norm") {
  optimizer_tests::gradients_cases<mixprec::Cuda>();
}
