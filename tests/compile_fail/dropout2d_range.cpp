// SPDX-License-Identifier: Apache-2.0
// A negative probability, and nothing else, of the layer that drops channels.
// expect-error: mixprec: Dropout2d: the probability lies in [0, 1).
#include <mixprec/nn/layers.hpp>

#ifdef MIXPREC_CONTROL
mixprec::nn::Dropout2d<0.0> layer;
#else
mixprec::nn::Dropout2d<-0.1> layer;
#endif
