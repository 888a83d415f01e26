// SPDX-License-Identifier: Apache-2.0
// A grid without columns holds no mean.
// expect-error: mixprec: AdaptiveAvgPool2d: the grid has less than one row or column. Give at least 1 of each.
#include <mixprec/nn/layers.hpp>

#ifdef MIXPREC_CONTROL
mixprec::nn::AdaptiveAvgPool2d<7, 1> layer;
#else
mixprec::nn::AdaptiveAvgPool2d<7, 0> layer;
#endif
