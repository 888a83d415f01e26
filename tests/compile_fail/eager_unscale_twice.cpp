// SPDX-License-Identifier: Apache-2.0
// Unscaling twice would divide by the loss scale twice.
// expect-error: mixprec: unscale: these gradients are unscaled already
#include <utility>

#include <mixprec/train/gradients.hpp>

using namespace mixprec;

void divide(Gradients<Scaled>& scaled) {
#ifdef MIXPREC_CONTROL
  (void)unscale(std::move(scaled));
#else
  unscale(unscale(std::move(scaled)));
#endif
}
