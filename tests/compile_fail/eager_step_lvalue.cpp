// SPDX-License-Identifier: Apache-2.0
// step takes the gradients over, and the source has to show it.
// expect-error: mixprec: step: the gradients change hands. Write step(std::move(gradients)) with unscaled gradients.
#include <utility>

#include <mixprec/cpu.hpp>
#include <mixprec/mixprec.hpp>
#include <mixprec/train/eager.hpp>

using namespace mixprec;

using Net = Model<nn::Sequential<nn::Linear<8, 4>>, Amp<float16>, Cpu>;

void take(Trainer<Net, Sgd<Net>, Scaler<Dynamic>>& trainer, Gradients<Unscaled>& gradients) {
#ifdef MIXPREC_CONTROL
  (void)trainer.step(std::move(gradients));
#else
  trainer.step(gradients);
#endif
}
