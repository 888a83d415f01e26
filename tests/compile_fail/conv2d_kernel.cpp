// SPDX-License-Identifier: Apache-2.0
// A kernel without elements.
// expect-error: mixprec: Conv2d: the kernel is less than 1.
#include <mixprec/nn/layers.hpp>

#ifdef MIXPREC_CONTROL
constexpr int kernel = 1;
#else
constexpr int kernel = 0;
#endif

mixprec::nn::Conv2d<6, 4, kernel> layer;
