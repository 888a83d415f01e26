// SPDX-License-Identifier: Apache-2.0
// A dropout probability of one drops everything.
// expect-error: mixprec: Dropout: the probability is given in thousandths
#include <mixprec/nn/layers.hpp>

#ifdef MIXPREC_CONTROL
mixprec::nn::Dropout<500> layer;
#else
mixprec::nn::Dropout<1000> layer;
#endif
