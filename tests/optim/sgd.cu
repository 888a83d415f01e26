// SPDX-License-Identifier: Apache-2.0
// SGD on CUDA.
#include <mixprec/cuda.hpp>

#include "sgd_cases.hpp"

TEST_CASE("SGD on CUDA follows PyTorch and skips whole steps") { optimizer_tests::sgd_cases<mixprec::Cuda>(); }
