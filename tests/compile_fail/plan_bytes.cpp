// SPDX-License-Identifier: Apache-2.0
// A plan holds a program to its memory.
// expect-error: this step fits into 100 KiB
#include <mixprec/plan/plan.hpp>

using namespace mixprec;

using Net = nn::Sequential<nn::Linear<16, 32>, nn::ReLU, nn::Linear<32, 4>>;
#ifdef MIXPREC_CONTROL
constexpr Shape batch{64, 16};
#else
constexpr Shape batch{4096, 16};
#endif
static_assert(plan<Net, Fp32, batch>.peak_bytes() <= KiB(100), "this step fits into 100 KiB");
