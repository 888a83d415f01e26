// SPDX-License-Identifier: Apache-2.0
// What the walk over a model's members finds, in the walk's order: for tests of names and shapes.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <mixprec/nn/registry.hpp>

namespace mixprec_test {

using Names = std::vector<std::string>;

struct Collected : mixprec::nn::ModulePaths {     // the root is ""
  Names state;                                    // parameters and buffers, in the order of state_dict
  std::vector<std::vector<std::int64_t>> shapes;  // of state
  Names frozen;                                   // parameters without a gradient

  template <int Rank>
  int parameter(mixprec::nn::Name name, mixprec::Parameter<Rank> const& parameter, mixprec::Initial) {
    state.push_back(path_of(name));
    shapes.emplace_back();
    for (int axis = 0; axis < Rank; ++axis) shapes.back().push_back(parameter.shape[axis]);
    if (parameter.frozen) frozen.push_back(state.back());
    return static_cast<int>(state.size()) - 1;
  }
  int buffer(mixprec::nn::Name name, mixprec::Buffer const& buffer) {
    state.push_back(path_of(name));
    shapes.push_back({buffer.size});
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
