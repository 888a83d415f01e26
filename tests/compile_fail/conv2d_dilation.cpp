// SPDX-License-Identifier: Apache-2.0
// A dilation of zero reads one element for the whole kernel.
// expect-error: mixprec: Conv2d: the dilation is less than 1.
#include <mixprec/nn/layers.hpp>

#ifdef MIXPREC_CONTROL
constexpr mixprec::nn::Conv2dOptions options{.dilation = 2};
#else
constexpr mixprec::nn::Conv2dOptions options{.dilation = 0};
#endif

mixprec::nn::Conv2d<6, 4, 3, options> layer;
