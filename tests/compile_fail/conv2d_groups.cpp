// SPDX-License-Identifier: Apache-2.0
// Groups that do not divide the channels.
// expect-error: mixprec: Conv2d: groups must divide the input and the output channels.
#include <mixprec/nn/layers.hpp>

#ifdef MIXPREC_CONTROL
constexpr int groups = 2;
#else
constexpr int groups = 3;
#endif

mixprec::nn::Conv2d<6, 4, 3, mixprec::nn::Conv2dOptions{.groups = groups}> layer;
