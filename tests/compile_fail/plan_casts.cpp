// SPDX-License-Identifier: Apache-2.0
// A plan holds a program to what it promises: another cast that is launched stops the build.
// expect-error: this model launches one cast, the image's
#include <mixprec/plan/plan.hpp>

using namespace mixprec;

using Net = nn::Sequential<nn::Linear<16, 32>, nn::ReLU, nn::Linear<32, 4>>;
#ifdef MIXPREC_CONTROL
using Policy = Amp<float16>;
#else
using Policy = ApexO2;  // casts the output too
#endif
static_assert(plan<Net, Policy, Shape{8, 16}>.materialized_casts() <= 1, "this model launches one cast, the image's");
