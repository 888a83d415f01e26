// SPDX-License-Identifier: Apache-2.0
// The weights of another network, even where it has as many of them.
// expect-error: mixprec: Inference: refresh takes a model of the same network. Make another one by eval().
#include <mixprec/cpu.hpp>
#include <mixprec/mixprec.hpp>

using namespace mixprec;

using Net = nn::Sequential<nn::Linear<8, 4>>;
#ifdef MIXPREC_CONTROL
using Other = Net;
#else
using Other = nn::Sequential<nn::Linear<8, 4>, nn::ReLU>;
#endif

void evaluate(Model<Net, Fp32, Cpu>& net, Model<Other, Amp<float16>, Cpu>& other) {
  auto inference = net.eval();
  inference.refresh(other);
}
