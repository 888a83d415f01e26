// SPDX-License-Identifier: Apache-2.0
// AdamW on CUDA.
#include <mixprec/cuda.hpp>

#include "adamw_cases.hpp"

TEST_CASE("AdamW on CUDA follows PyTorch and skips whole steps") { optimizer_tests::adamw_cases<mixprec::Cuda>(); }
