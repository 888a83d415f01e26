// SPDX-License-Identifier: Apache-2.0
// Training under a policy that computes results again, against the same without: bits, rows, peak, bytes.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "plan_cases.hpp"

namespace mixprec::test {
namespace {

/// Convolution, norm and relu; extents stay.
template <int In, int Out, int Kernel = 3>
using Block = nn::Sequential<nn::Conv2d<In, Out, Kernel, nn::Conv2dOptions{.padding = Kernel / 2, .bias = false}>,
                             nn::BatchNorm2d<Out>, nn::ReLU>;

/// Parameters and buffers after three steps on one batch of five classes.
template <class Net, class Policy, Shape input>
std::vector<std::pair<std::string, Values>> trained() {
  Model<Net, Policy, TestBackend> model{1};
  Sgd opt{model, {.momentum = 0.9}};
  Scaler<StaticScale<128>> const scaler;
  Step step{model, opt, scaler, Constant{.lr = 0.05}, Loss{}};
  Batch<float, 4> const batch(input, 5);
  for (int index = 0; index < 3; ++index) step(batch.host_image(), batch.host_label());
  std::vector<std::pair<std::string, Values>> values;
  for (std::string const& name : model.names()) values.emplace_back(name, model.values(name));
  return values;
}

/// `Policy` gives what `Keeping` gives, bit for bit, from less memory, and the plan has its rows and its peak.
template <class Net, class Policy, class Keeping, Shape input>
void check_recomputes() {
  CHECK(trained<Net, Policy, input>() == trained<Net, Keeping, input>());
  check_rows<Net, Policy, TestBackend, input>(5);
  check_peak<Net, Policy, TestBackend, input>(5);
  static_assert(plan<Net, Policy, input>.kept_bytes() < plan<Net, Keeping, input>.kept_bytes());
  static_assert(plan<Net, Policy, input>.peak_bytes() < plan<Net, Keeping, input>.peak_bytes());
}

}  // namespace
}  // namespace mixprec::test
