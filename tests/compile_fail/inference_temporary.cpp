// SPDX-License-Identifier: Apache-2.0
// An inference object owns the memory of its results, so a temporary one cannot be called.
// expect-error: mixprec: Inference: the result would outlive its memory
#include <mixprec/cpu.hpp>
#include <mixprec/mixprec.hpp>

using namespace mixprec;

using Net = nn::Sequential<nn::Linear<8, 4>>;

void evaluate(Model<Net, Fp32, Cpu>& net, Tensor<Cpu, float, 2> const& x) {
#ifdef MIXPREC_CONTROL
  auto inference = net.eval();
  auto const y = inference(x);
#else
  auto const y = net.eval()(x);
#endif
  (void)y;
}
