// SPDX-License-Identifier: Apache-2.0
// What the walk over a model's members finds, in the walk's order: for tests of names.
#pragma once

#include <string>
#include <vector>

#include <mixprec/nn/registry.hpp>

namespace mixprec_test {

using Names = std::vector<std::string>;

struct Collected {
  Names state;    // parameters and buffers, in the order of state_dict
  Names modules;  // the root is ""
  Names frozen;   // parameters without a gradient

  int add_module(mixprec::nn::Path const& path) {
    modules.emplace_back(path.view());
    return static_cast<int>(modules.size()) - 1;
  }
  template <int Rank>
  int parameter(mixprec::nn::Path const& path, mixprec::Parameter<Rank> const& parameter, mixprec::Initial) {
    state.emplace_back(path.view());
    if (parameter.frozen) frozen.emplace_back(path.view());
    return static_cast<int>(state.size()) - 1;
  }
  int buffer(mixprec::nn::Path const& path, mixprec::Buffer const&) {
    state.emplace_back(path.view());
    return static_cast<int>(state.size()) - 1;
  }
};

template <class Net>
Collected collect() {
  Net net{};
  Collected collected;
  mixprec::nn::number(net, collected);
  return collected;
}

}  // namespace mixprec_test
