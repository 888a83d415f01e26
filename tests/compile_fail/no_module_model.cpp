// SPDX-License-Identifier: Apache-2.0
// The error of no_module_child.cpp, for a whole model that trains.
// expect-error: mixprec: a struct is used as a module, but has no MIXPREC_MODULE. Write MIXPREC_MODULE(
#include <mixprec/cpu.hpp>
#include <mixprec/mixprec.hpp>

using namespace mixprec;

struct Net {
  nn::Linear<4, 3> fc;
#ifdef MIXPREC_CONTROL
  MIXPREC_MODULE(fc)
#endif
  constexpr auto operator()(auto const& x) const { return fc(x); }
};

void train() {
  Model<Net, Fp32, Cpu> net{1};
  Sgd optimizer{net, {}};
  Step step{net, optimizer, Scaler<NoScaler>{}, Constant{.lr = 0.1},
            [](auto& model, auto const& x, auto const& labels) { return cross_entropy(model(x), labels); }};
}
