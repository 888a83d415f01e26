// SPDX-License-Identifier: Apache-2.0
// Recompute<M>: less memory for activations, at the price of a second forward pass through M.
#pragma once

#include <mixprec/autograd/recompute.hpp>
#include <mixprec/nn/containers.hpp>

namespace mixprec::inline MIXPREC_ABI::nn {

namespace detail {

/// Looks for a parameter that gets a gradient.
struct FindTrained {
  bool found = false;

  template <class M>
  constexpr void child(char const*, M const& member) {
    M::members(member, *this);
  }
  template <int Rank>
  constexpr void child(char const*, Parameter<Rank> const& member) {
    found = found || !member.frozen;
  }
  template <int Rank>
  constexpr void parameter(char const*, Parameter<Rank> const& member, Initial) {
    found = found || !member.frozen;
  }
  constexpr void buffer(char const*, Buffer const&) {}
};

/// A module as a function from Value to Value.
template <class M>
struct SettledCall {
  M module;
  constexpr auto operator()(any_value auto const& x) const { return mixprec::detail::settled(module(x)); }
};

}  // namespace detail

/// `M`, whose inside backward computes again: kept is its input alone. Running statistics move once, dropout draws the
/// same mask twice, and results and gradients are those of M, bit for bit. Names stay. torch.utils.checkpoint.
template <class M>
struct Recompute : M {
  template <any_value X>
  constexpr auto operator()(X const& x) const {
    if constexpr (inference_policy<typename X::policy>) {
      return M::operator()(x);
    } else {
      detail::FindTrained trained;
      M::members(static_cast<M const&>(*this), trained);
      return recompute(detail::SettledCall<M>{*this}, mixprec::detail::settled(x), trained.found);
    }
  }
};

}  // namespace mixprec::inline MIXPREC_ABI::nn
