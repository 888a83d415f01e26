// SPDX-License-Identifier: Apache-2.0
// Models with recomputed blocks against their plans' peaks, which the second runs reach, on the CPU.
#include "ops/harness.hpp"

MIXPREC_TEST_BACKEND(mixprec::Cpu)

#include "recompute_nets.hpp"
#include "train/plan_cases.hpp"

namespace mixprec::test {
namespace {

using RecomputeNet = BlockNet<nn::Recompute>;
MIXPREC_PLAN_PEAK_TEST(RecomputeNet, recompute_input, 4)
MIXPREC_PLAN_PEAK_TEST(TwoBlocks, recompute_input, 4)

}  // namespace
}  // namespace mixprec::test
