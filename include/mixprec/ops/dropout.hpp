// SPDX-License-Identifier: Apache-2.0
// Dropout whose mask is computed again in backward, not stored.
#pragma once

#include <mixprec/ops/apply.hpp>

namespace mixprec::inline MIXPREC_ABI {

namespace ops {

/// y = x / (1 - p) where a uniform number >= p, else 0. Precision: follows x. Backward: the same mask on dy; keeps
/// nothing. The mask is Philox4x32-10 of (the step's key, element, call): the same on every backend. Source: Salmon et
/// al. 2011, "Parallel random numbers: as easy as 1, 2, 3".
struct Dropout : OpBase {
  using precision = FollowOp;
  static constexpr char const* name = "dropout";

  double p = 0.5;
  std::uint64_t call = 0;

  template <int Rank>
  constexpr Shaped<Rank> shape(Shape<Rank> x) const {
    return x;
  }
  constexpr Keeps keeps(unsigned) const { return {}; }
  void forward(auto& session, auto& y, auto&, auto const& x) const {
    dropout(session.stream(), x.data(), y.data(), x.size(), p, session.seed(), call);
  }
  void backward(auto& session, auto const& context, auto& gradients) const {
    auto const& dx = std::get<0>(gradients);
    dropout(session.stream(), context.gradient.data(), dx.data(), dx.size(), p, session.seed(), call);
  }
};

}  // namespace ops

/// torch.nn.functional.dropout in training; the identity otherwise. 0 <= p < 1.
template <any_value X>
constexpr auto dropout(X const& x, double p, Place place) {
  if (!x.session().training() || p == 0) return x;
  std::uint64_t call = 0;
  if constexpr (!std::is_same_v<typename X::backend, Meta>) {
    if (!(p >= 0 && p < 1)) throw Error("dropout: p = " + std::to_string(p) + ". Give a probability in [0, 1).");
    call = x.session().next_random_call();
  }
  return apply(ops::Dropout{{}, p, call}, place, x);
}
constexpr auto dropout(any_value auto const& x, double p = 0.5) { return dropout(x, p, x.place()); }

}  // namespace mixprec::inline MIXPREC_ABI
