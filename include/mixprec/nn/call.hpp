// SPDX-License-Identifier: Apache-2.0
// A whole model on one input: the policy's casts at the model's border, and the trace of a forward pass.
#pragma once

#include <type_traits>
#include <utility>

#include <mixprec/nn/registry.hpp>

namespace mixprec::inline MIXPREC_ABI::nn {

namespace detail {
/// change(y) for a network's result: one value, or a struct of several whose member map(change) changes each of them.
template <class Y, class Change>
constexpr auto each_output(Y&& y, Change const& change) {
  if constexpr (any_value<std::remove_cvref_t<Y>>) {
    return change(std::forward<Y>(y));
  } else {
    return std::forward<Y>(y).map(change);
  }
}
}  // namespace detail

/// net(x) with the casts that the policy makes where data enters and leaves the model (Apex O2, O3).
template <class Policy, class Net, class X>
constexpr auto call(Net const& net, X const& x) {
  Place const root{-1, true, false};
  auto const leave = [&](auto&& y) {
    if constexpr (Policy::casts_output) {
      return cast_value<DType::float32>(mixprec::detail::settled(y), root);
    } else {
      return mixprec::detail::settled(y);
    }
  };
  if constexpr (Policy::casts_input) {
    return detail::each_output(net(cast_value<Policy::low>(x, root).at(root)), leave);
  } else {
    return detail::each_output(net(x.at(root)), leave);
  }
}

}  // namespace mixprec::inline MIXPREC_ABI::nn
