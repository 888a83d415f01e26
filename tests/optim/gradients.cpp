// SPDX-License-Identifier: Apache-2.0
// The finite check and the norm of gradients on the CPU.
#include <mixprec/backend/cpu/cpu.hpp>
#include <mixprec/backend/cpu/optimizer.hpp>

#include "gradients_cases.hpp"

TEST_CASE("the CPU finds gradients that are not finite and sums the norm") {
  optimizer_tests::gradients_cases<mixprec::Cpu>();
}
