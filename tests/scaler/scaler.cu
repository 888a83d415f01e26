// SPDX-License-Identifier: Apache-2.0
// The scaler's state machine on CUDA.
#include <mixprec/cuda.hpp>

#include "scaler_cases.hpp"

TEST_CASE("the scaler on CUDA follows PyTorch's algorithm") { scaler_tests::scaler_cases<mixprec::Cuda>(); }
