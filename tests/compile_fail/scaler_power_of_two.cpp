// SPDX-License-Identifier: Apache-2.0
// A compile-time loss scale that is no power of two would round every gradient when it is unscaled.
// expect-error: mixprec: a compile-time loss scale must be a power of two
#include <mixprec/scaler/scaler.hpp>

#ifdef MIXPREC_CONTROL
mixprec::Scaler<mixprec::StaticScale<1000, mixprec::Checked, mixprec::AnyScale>> scaler;
#else
mixprec::Scaler<mixprec::StaticScale<1000>> scaler;
#endif
