// SPDX-License-Identifier: Apache-2.0
// The cases of pool_cases.hpp on the CPU.
#include <mixprec/backend/cpu/cpu.hpp>
#include <mixprec/backend/cpu/kernels.hpp>

#include "harness.hpp"

MIXPREC_TEST_BACKENDS(mixprec::Cpu)

#include "pool_cases.hpp"

TEST_CASE("max pooling on the CPU refuses an index for windows that a byte cannot number") {
  mixprec::cpu::Stream stream;
  mixprec::PoolGeometry const g{1, 17, 17, 1, 1, 1, 17, 1, 0};
  std::vector<float> x(17 * 17);
  float y;
  std::uint8_t index;
  CHECK_THROWS_AS(max_pool2d_forward(stream, g, x.data(), &y, &index), mixprec::Error);
}
