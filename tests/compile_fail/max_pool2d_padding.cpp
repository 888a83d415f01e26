// SPDX-License-Identifier: Apache-2.0
// A window that would lie in the padding alone.
// expect-error: mixprec: pooling: the padding is more than half the kernel.
#include <mixprec/nn/layers.hpp>

#ifdef MIXPREC_CONTROL
mixprec::nn::MaxPool2d<3, 2, 1> layer;
#else
mixprec::nn::MaxPool2d<3, 2, 2> layer;
#endif
