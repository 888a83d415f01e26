// SPDX-License-Identifier: Apache-2.0
// A step with scaled gradients would skip their check.
// expect-error: mixprec: step: these gradients are still multiplied by the loss scale
#include <utility>

#include <mixprec/cpu.hpp>
#include <mixprec/mixprec.hpp>
#include <mixprec/train/eager.hpp>

using namespace mixprec;

using Net = Model<nn::Sequential<nn::Linear<8, 4>>, Amp<float16>, Cpu>;

void take(Trainer<Net, Sgd<Net>, Scaler<Dynamic>>& trainer, Gradients<Scaled>& scaled) {
#ifdef MIXPREC_CONTROL
  (void)trainer.step(unscale(std::move(scaled)));
#else
  trainer.step(std::move(scaled));
#endif
}
