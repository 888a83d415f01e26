// SPDX-License-Identifier: Apache-2.0
// A probability of 1 would drop everything and divide by 0; 250 is what a user writes who thinks in thousandths.
// expect-error: mixprec: Dropout: the probability lies in [0, 1).
#include <mixprec/nn/layers.hpp>

#ifdef MIXPREC_CONTROL
mixprec::nn::Dropout<0.25> layer;
#else
mixprec::nn::Dropout<250> layer;
#endif
