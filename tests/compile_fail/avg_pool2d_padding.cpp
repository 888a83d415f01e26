// SPDX-License-Identifier: Apache-2.0
// Padding is added, never taken away.
// expect-error: mixprec: pooling: the padding is negative.
#include <mixprec/nn/layers.hpp>

#ifdef MIXPREC_CONTROL
mixprec::nn::AvgPool2d<3, 2, 0> layer;
#else
mixprec::nn::AvgPool2d<3, 2, -1> layer;
#endif
