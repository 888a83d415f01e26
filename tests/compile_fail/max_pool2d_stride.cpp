// SPDX-License-Identifier: Apache-2.0
// A stride of zero; in the functional form it means the kernel, in the layer the default does.
// expect-error: mixprec: pooling: the stride is less than 1.
#include <mixprec/nn/layers.hpp>

#ifdef MIXPREC_CONTROL
mixprec::nn::MaxPool2d<2> layer;
#else
mixprec::nn::MaxPool2d<2, 0> layer;
#endif
