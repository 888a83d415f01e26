// SPDX-License-Identifier: Apache-2.0
// What a consumer's build must provide: the headers, C++20, and the components that mixprec was installed with, which a
// training step of a network calls.
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <vector>

#include <mixprec/cpu.hpp>
#include <mixprec/mixprec.hpp>

namespace mp = mixprec;
using Net = mp::nn::Sequential<mp::nn::Conv2d<1, 4, 3>, mp::nn::ReLU, mp::nn::Flatten, mp::nn::Linear<4 * 36, 3>>;

bool trains() {
  mp::Model<Net, mp::Amp<mp::bfloat16>, mp::Cpu> net{1};
  mp::Sgd optimizer{net};
  mp::Scaler<mp::NoScaler> const scaler;
  mp::Step step{net, optimizer, scaler, mp::Constant{.lr = 0.1},
                [](auto& model, auto const& x, auto const& label) { return mp::cross_entropy(model(x), label); }};
  std::vector<float> const images(2 * 64, 0.5f);
  std::vector<std::int32_t> const labels{0, 1};
  step(mp::HostTensor{images.data(), mp::Shape{2, 1, 8, 8}}, mp::HostTensor{labels.data(), mp::Shape{2}});
  return step.result().taken && std::isfinite(step.loss());
}

int main() {
  std::printf("onednn=%d openmp=%d\n", MIXPREC_HAS_ONEDNN(), MIXPREC_HAS_OPENMP());
  constexpr auto third = mixprec::convert<mixprec::bfloat16>(1.0 / 3.0);
  static_assert(third.bits == 0x3eab);
  try {
    throw mixprec::Error("1 is not 2. Do nothing.");
  } catch (mixprec::Error const& error) {
    std::printf("%s\n", error.what());
  }
  return MIXPREC_HAS_ONEDNN() == EXPECT_ONEDNN && MIXPREC_HAS_OPENMP() == EXPECT_OPENMP && trains() ? 0 : 1;
}
