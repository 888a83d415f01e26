// SPDX-License-Identifier: Apache-2.0
// A loss scale of zero or less loses or turns every gradient.
// expect-error: mixprec: a loss scale must be positive
#include <mixprec/scaler/scaler.hpp>

#ifdef MIXPREC_CONTROL
mixprec::Scaler<mixprec::StaticScale<512, mixprec::Unchecked>> scaler;
#else
mixprec::Scaler<mixprec::StaticScale<-512, mixprec::Unchecked>> scaler;
#endif
