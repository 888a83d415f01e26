// SPDX-License-Identifier: Apache-2.0
// The error of label_dtype.cpp where labels come from a host batch, and in a loss behind a resize.
// expect-error: mixprec: cross_entropy: labels are int32.
#include <mixprec/cpu.hpp>
#include <mixprec/mixprec.hpp>

using namespace mixprec;

#ifdef MIXPREC_CONTROL
using Label = std::int32_t;
#else
using Label = std::int64_t;
#endif

using Net = nn::Sequential<nn::Conv2d<3, 4, 3>>;

void train(HostTensor<float, 4> const& images, HostTensor<Label, 3> const& labels) {
  Model<Net, Fp32, Cpu> net{1};
  Sgd optimizer{net, {}};
  Scaler<NoScaler> const scaler;
  Step step{net, optimizer, scaler, Constant{.lr = 0.1}, [](auto& model, auto const& x, auto const& y) {
              return cross_entropy(resize(model(x), {8, 8}), y);
            }};
  step(images, labels);
}
