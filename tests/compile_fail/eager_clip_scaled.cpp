// SPDX-License-Identifier: Apache-2.0
// The norm of scaled gradients is the loss scale's times too large: clipping them would shrink every step.
// expect-error: mixprec: clip_grad_norm: these gradients are still multiplied by the loss scale
#include <utility>

#include <mixprec/train/gradients.hpp>

using namespace mixprec;

void clip(Gradients<Scaled>& scaled) {
#ifdef MIXPREC_CONTROL
  Gradients<Unscaled> gradients = unscale(std::move(scaled));
  clip_grad_norm(gradients, 1.0);
#else
  clip_grad_norm(scaled, 1.0);
#endif
}
