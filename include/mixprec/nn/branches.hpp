// SPDX-License-Identifier: Apache-2.0
// Modules beside each other on one input: their results concatenated, or added.
#pragma once

#include <cstddef>
#include <utility>

#include <mixprec/nn/containers.hpp>
#include <mixprec/ops/concat.hpp>

namespace mixprec::inline MIXPREC_ABI::nn {

namespace detail {

/// Calls join(results...) with the result of every child on `x`, pending where `Pending` and the child can give it so.
/// One child runs behind the other: the order of a call's arguments is the compiler's choice, and a plan's rows have
/// one order.
template <bool Pending, std::size_t I = 0, class Children, class X, class Join, class... Result>
constexpr auto branch(Children const& children, X const& x, Join const& join, Result&&... result) {
  if constexpr (I == Children::size) {
    return join(std::forward<Result>(result)...);
  } else if constexpr (Pending) {
    auto next = enter_pending<I>(children, x);
    return branch<Pending, I + 1>(children, x, join, std::forward<Result>(result)..., std::move(next));
  } else {
    auto next = enter<I>(children, x);
    return branch<Pending, I + 1>(children, x, join, std::forward<Result>(result)..., std::move(next));
  }
}

}  // namespace detail

/// join(results...) with the result of every child of `modules` on `x`, one child behind the other. The results are
/// temporaries, and have not run yet where the child can give them so: `[](auto&&... y) { return
/// concat(std::move(y)...); }` copies none of those.
template <class... Branch, any_value X, class Join>
constexpr auto join_branches(Sequential<Branch...> const& modules, X const& x, Join const& join) {
  return detail::branch<true>(modules.children, x, join);
}

/// Every branch on the same input, the results concatenated along channels. Children are named as in Sequential.
/// Shapes: branch i gives (N,Ci,H,W) or (N,Ci) -> (N,C0+C1+...,H,W) or (N,C0+C1+...).
template <class... Branch>
struct Concat : Sequential<Branch...> {
  static_assert(sizeof...(Branch) > 0, "mixprec: Concat: it has no branch. Name at least one module.");

  constexpr auto operator()(any_value auto const& x) const {
    auto const& input = mixprec::detail::settled(x);
    return join_branches(*this, input,
                         [&](auto&&... result) { return concat_at(own_place(*this), std::move(result)...); });
  }
};

/// Every branch on the same input, the results added from the first to the last. An add joins a batch norm that ends
/// the first branch (ops/pending_norm.hpp). Children are named as in Sequential.
template <class... Branch>
struct Sum : Sequential<Branch...> {
  static_assert(sizeof...(Branch) > 0, "mixprec: Sum: it has no branch. Name at least one module.");

  constexpr auto operator()(any_value auto const& x) const {
    auto const& input = mixprec::detail::settled(x);
    return detail::branch<false>(this->children, input, [&](auto&&... result) { return total(std::move(result)...); });
  }

 private:
  template <class First, class... More>
  constexpr auto total(First&& first, More&&... more) const {
    if constexpr (sizeof...(More) == 0) {
      return std::forward<First>(first);
    } else {
      return total_of(std::forward<First>(first), std::forward<More>(more)...);
    }
  }
  template <class First, class Second, class... More>
  constexpr auto total_of(First&& first, Second&& second, More&&... more) const {
    Place const here{this->module_id, true, false};
    return total(mixprec::add(std::forward<First>(first).at(here), std::forward<Second>(second)),
                 std::forward<More>(more)...);
  }
};

}  // namespace mixprec::inline MIXPREC_ABI::nn
