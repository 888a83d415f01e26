// SPDX-License-Identifier: Apache-2.0
// Extents that do not fit are found by the plan: the first error names the layer ("head.fc") and both values.
// expect-error: ExtentsDoNotFit<
// expect-error: 'h', 'e', 'a', 'd', '.', 'f', 'c'
// expect-error: Expected<1352
// expect-error: Received<1568
#include <mixprec/plan/plan.hpp>

using namespace mixprec;

#ifdef MIXPREC_CONTROL
constexpr int features = 8 * 14 * 14;
#else
constexpr int features = 8 * 13 * 13;
#endif

using Net = nn::Sequential<nn::Conv2d<1, 8, 3, nn::Conv2dOptions{.padding = 1}>, nn::MaxPool2d<2>, nn::Flatten,
                           nn::Named<"head", nn::Sequential<nn::Named<"fc", nn::Linear<features, 10>>>>>;
static_assert(plan<Net, Amp<float16>, Shape{4, 1, 28, 28}>.rows() > 0);
