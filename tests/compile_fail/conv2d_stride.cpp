// SPDX-License-Identifier: Apache-2.0
// A stride of zero has no output extent.
// expect-error: mixprec: Conv2d: the stride is less than 1.
#include <mixprec/nn/layers.hpp>

#ifdef MIXPREC_CONTROL
constexpr mixprec::nn::Conv2dOptions options{.stride = 2};
#else
constexpr mixprec::nn::Conv2dOptions options{.stride = 0};
#endif

mixprec::nn::Conv2d<6, 4, 3, options> layer;
