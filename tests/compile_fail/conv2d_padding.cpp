// SPDX-License-Identifier: Apache-2.0
// Padding is added, never taken away.
// expect-error: mixprec: Conv2d: the padding is negative.
#include <mixprec/nn/layers.hpp>

#ifdef MIXPREC_CONTROL
constexpr mixprec::nn::Conv2dOptions options{.padding = 0};
#else
constexpr mixprec::nn::Conv2dOptions options{.padding = -1};
#endif

mixprec::nn::Conv2d<6, 4, 3, options> layer;
