// SPDX-License-Identifier: Apache-2.0
// The Sequential of the plan tests: every module.
#pragma once

#include "plan_cases.hpp"

namespace mixprec::test {

using Padded = nn::Sequential<nn::Conv2d<4, 4, 3, nn::Conv2dOptions{.padding = 1}>, nn::BatchNorm2d<4>>;
using EveryModule =
    nn::Sequential<nn::Conv2d<2, 4, 3, nn::Conv2dOptions{.padding = 1}>, nn::BatchNorm2d<4>, nn::ReLU,
                   nn::Named<"residual", nn::Residual<Padded>>, nn::Frozen<Padded>, nn::MaxPool2d<2>,
                   nn::Conv2d<4, 6, 3, nn::Conv2dOptions{.padding = 1, .groups = 2}>, nn::AvgPool2d<3, 2, 1>,
                   nn::Dropout<0.25>, nn::Flatten, nn::Linear<24, 8>, nn::BatchNorm1d<8>, nn::Identity,
                   nn::ForceFp32<nn::Linear<8, 8>>, nn::Softmax, nn::Linear<8, 5>, nn::LogSoftmax>;
inline constexpr Shape sequential_input{6, 2, 8, 8};

}  // namespace mixprec::test
