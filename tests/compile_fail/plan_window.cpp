// SPDX-License-Identifier: Apache-2.0
// A kernel larger than its input: spatial extents are checked with the same sentence as channels.
// expect-error: ExtentsDoNotFit<
// expect-error: AtLayer<'1'>
// expect-error: Expected<5
// expect-error: Received<4
#include <mixprec/plan/plan.hpp>

using namespace mixprec;

#ifdef MIXPREC_CONTROL
constexpr Shape image{2, 3, 7, 7};
#else
constexpr Shape image{2, 3, 6, 6};
#endif

using Net = nn::Sequential<nn::Conv2d<3, 4, 3>, nn::Conv2d<4, 4, 5>, nn::GlobalAvgPool2d, nn::Linear<4, 2>>;
static_assert(plan<Net, Fp32, image>.rows() > 0);
