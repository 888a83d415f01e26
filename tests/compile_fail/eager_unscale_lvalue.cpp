// SPDX-License-Identifier: Apache-2.0
// unscale takes the gradients over, and the source has to show it.
// expect-error: mixprec: unscale: the gradients change hands. Write unscale(std::move(gradients))
#include <utility>

#include <mixprec/train/gradients.hpp>

using namespace mixprec;

void divide(Gradients<Scaled>& scaled) {
#ifdef MIXPREC_CONTROL
  (void)unscale(std::move(scaled));
#else
  unscale(scaled);
#endif
}
