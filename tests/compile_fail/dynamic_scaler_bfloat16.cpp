// SPDX-License-Identifier: Apache-2.0
// bfloat16 has float's range: a dynamic loss scale would only skip steps.
// expect-error: mixprec: a dynamic scaler has nothing to do under this policy
#include <mixprec/cpu.hpp>
#include <mixprec/mixprec.hpp>

using namespace mixprec;

#ifdef MIXPREC_CONTROL
using Policy = Amp<float16>;
#else
using Policy = Amp<bfloat16>;
#endif
using Net = nn::Sequential<nn::Linear<8, 4>>;

void train() {
  Model<Net, Policy, Cpu> net{1};
  Sgd optimizer{net, {}};
  Step step{net, optimizer, Scaler<Dynamic>{}, Constant{.lr = 0.1},
            [](auto& model, auto const& x, auto const& labels) { return cross_entropy(model(x), labels); }};
}
