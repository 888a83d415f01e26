// SPDX-License-Identifier: Apache-2.0
// A plan for an empty batch: batch norm in training is the first that has nothing to work on.
// expect-error: ExtentsDoNotFit<
// expect-error: AtLayer<'1'>
// expect-error: Expected<1
// expect-error: Received<0
#include <mixprec/plan/plan.hpp>

using namespace mixprec;

#ifdef MIXPREC_CONTROL
constexpr Shape batch{2, 4};
#else
constexpr Shape batch{0, 4};
#endif

using Net = nn::Sequential<nn::Linear<4, 4>, nn::BatchNorm1d<4>, nn::Linear<4, 3>>;
static_assert(plan<Net, Amp<float16>, batch>.rows() > 0);
