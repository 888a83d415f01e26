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

/// Whole channels: y(n,c,:,:) = x(n,c,:,:) / (1 - p) where the uniform number of (n,c) >= p, else 0. Shapes: (N,C,H,W).
/// Precision and backward: as Dropout.
struct Dropout2d : OpBase {
  using precision = FollowOp;
  static constexpr char const* name = "dropout2d";

  double p = 0.5;
  std::uint64_t call = 0;

  constexpr Shaped<4> shape(Shape<4> x) const { return x; }
  constexpr Keeps keeps(unsigned) const { return {}; }
  void forward(auto& session, auto& y, auto&, auto const& x) const { run(session, x, y); }
  void backward(auto& session, auto const& context, auto& gradients) const {
    run(session, context.gradient, std::get<0>(gradients));
  }

 private:
  void run(auto& session, auto const& from, auto const& to) const {
    dropout2d(session.stream(), to.shape()[0], to.shape()[2] * to.shape()[3], to.shape()[1], from.data(), to.data(), p,
              session.seed(), call);
  }
};

}  // namespace ops

namespace detail {
template <class Op, any_value X>
constexpr auto drop(X const& x, double p, Place place) {
  if (!x.session().training() || p == 0) return settled(x);
  std::uint64_t call = 0;
  if constexpr (!std::is_same_v<typename X::backend, Meta>) {
    if (!(p >= 0 && p < 1))
      throw Error(std::string(Op::name) + ": p = " + std::to_string(p) + ". Give a probability in [0, 1).");
    call = x.session().next_random_call();
  }
  return apply(Op{{}, p, call}, place, x);
}
}  // namespace detail

/// torch.nn.functional.dropout in training; the identity otherwise. 0 <= p < 1.
constexpr auto dropout(any_value auto const& x, double p, Place place) {
  return detail::drop<ops::Dropout>(x, p, place);
}
constexpr auto dropout(any_value auto const& x, double p = 0.5) { return dropout(x, p, x.place()); }
/// torch.nn.functional.dropout2d in training; the identity otherwise. 0 <= p < 1.
constexpr auto dropout2d(any_value auto const& x, double p, Place place) {
  return detail::drop<ops::Dropout2d>(x, p, place);
}
constexpr auto dropout2d(any_value auto const& x, double p = 0.5) { return dropout2d(x, p, x.place()); }

}  // namespace mixprec::inline MIXPREC_ABI
