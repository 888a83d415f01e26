// SPDX-License-Identifier: Apache-2.0
// A window without elements.
// expect-error: mixprec: pooling: the kernel is less than 1.
#include <mixprec/nn/layers.hpp>

#ifdef MIXPREC_CONTROL
mixprec::nn::AvgPool2d<1> layer;
#else
mixprec::nn::AvgPool2d<0, 1> layer;
#endif
