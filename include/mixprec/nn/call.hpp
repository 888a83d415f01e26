// SPDX-License-Identifier: Apache-2.0
// A whole model on one input: the policy's casts at the model's border, and the trace of a forward pass.
#pragma once

#include <mixprec/nn/registry.hpp>

namespace mixprec::inline MIXPREC_ABI::nn {

/// net(x) with the casts that the policy makes where data enters and leaves the model (Apex O2, O3).
template <class Policy, class Net, class X>
constexpr auto call(Net const& net, X const& x) {
  Place const root{-1, true, false};
  if constexpr (Policy::casts_output) {
    return cast_value<DType::float32>(mixprec::detail::settled(net(cast_value<Policy::low>(x, root).at(root))), root);
  } else if constexpr (Policy::casts_input) {
    return mixprec::detail::settled(net(cast_value<Policy::low>(x, root).at(root)));
  } else {
    return mixprec::detail::settled(net(x.at(root)));
  }
}

}  // namespace mixprec::inline MIXPREC_ABI::nn
