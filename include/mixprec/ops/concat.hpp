// SPDX-License-Identifier: Apache-2.0
// Concatenation along channels.
#pragma once

#include <tuple>
#include <type_traits>
#include <utility>

#include <mixprec/ops/pending_norm.hpp>

namespace mixprec::inline MIXPREC_ABI {

namespace ops {

/// Shapes: (N,C1,H,W), (N,C2,H,W), ... -> (N,C1+C2+...,H,W), or (N,C1), (N,C2), ... -> (N,C1+C2+...). Precision: the
/// widest operand's dtype; narrower ones are converted while they are copied. Backward: copies the slices of dy; keeps
/// nothing. Operands in `joined` (a bit for each) are views of the result: nothing is copied, in neither direction.
struct Concat : OpBase {
  using precision = PromoteOp;
  static constexpr char const* name = "concat";
  static constexpr bool joins_operands = true;
  unsigned joined = 0;

  static constexpr int channels(int) { return dynamic_channels; }

  template <int Rank, class... More>
  constexpr Shaped<Rank> shape(Shape<Rank> first, More... more) const {
    Shaped<Rank> result = first;
    auto const append = [&](Shape<Rank> const& next) {
      for (int axis = 0; axis < Rank; ++axis) {
        if (axis == 1 || next[axis] == first[axis] || !result.fits()) continue;
        result = {axis == 0 ? "batches of the operands" : "extents of the operands", first[axis], next[axis]};
      }
      result.shape[1] += next[1];
    };
    (append(more), ...);
    return result;
  }
  constexpr double flops(auto const&...) const { return 0; }
  constexpr Keeps keeps(unsigned) const { return {}; }
  void forward(auto& session, auto& y, auto&, auto const&... operand) const {
    std::int64_t const channels = y.shape()[1], rows = channels > 0 ? y.size() / channels : 0;
    std::int64_t at = 0;
    unsigned left = joined;
    auto const copy = [&](auto const& x) {
      std::int64_t const columns = x.shape()[1];
      if ((left & 1u) == 0) copy_columns(session.stream(), rows, columns, x.data(), columns, y.data() + at, channels);
      at += columns, left >>= 1;
    };
    (copy(operand), ...);
  }
  void backward(auto& session, auto const& context, auto& gradients) const {
    auto const& dy = context.gradient;
    using Gradient = typename std::remove_cvref_t<decltype(dy)>::dtype;
    std::int64_t const channels = dy.shape()[1], rows = channels > 0 ? dy.size() / channels : 0;
    std::int64_t at = 0;
    auto const copy = [&](auto const& dx) {
      std::int64_t const columns = dx.shape()[1];
      Gradient const* const from = dy.data() + at;
      if (dx) copy_columns(session.stream(), rows, columns, from, channels, dx.data(), columns);
      at += columns;
    };
    std::apply([&](auto const&... dx) { (copy(dx), ...); }, gradients);
  }
};

}  // namespace ops

namespace detail {

/// A temporary that can write its channels of a concatenation of dtype `T` itself, where nothing has read it yet.
template <class X, class T>
concept joins_concat = !std::is_reference_v<X> && !std::is_const_v<X> && std::is_same_v<typename X::dtype, T> &&
                       !inference_policy<typename X::policy> && requires(X & x, ResultColumns columns) {
  std::move(x).into(x.tensor(), columns);
};

/// Extents that a resize or a batch norm has yet to refuse are left to it.
template <int Rank>
constexpr bool is_positive(Shape<Rank> const& shape) {
  for (int axis = 0; axis < Rank; ++axis)
    if (shape[axis] < 1) return false;
  return true;
}

/// The operands in `whole`, one behind the other: those that can write their channels there do, the others are copied.
template <int Channels, class B, class Whole, class... X>
constexpr auto concat_into(Session<B> const& session, Whole const& whole, Place place, X&&... x) {
  ops::Concat op;
  std::int64_t at = 0;
  unsigned bit = 1;
  auto const place_operand = [&]<class Operand>(Operand&& operand) {
    std::int64_t const first = std::exchange(at, at + operand.shape()[1]);
    unsigned const mine = std::exchange(bit, bit << 1);
    if constexpr (joins_concat<Operand, typename Whole::dtype>) {
      if (operand.open() && &operand.session() == &session) {
        op.joined |= mine;
        auto const shape = operand.shape();
        return std::move(operand).into(whole.columns(first, shape), {first, whole.shape()[1]});
      }
    }
    return settled(operand);
  };
  // Braces evaluate from left to right.
  std::tuple<decltype(place_operand(std::forward<X>(x)))...> const values{place_operand(std::forward<X>(x))...};
  return std::apply([&](auto const&... value) { return apply_into<Channels>(whole, op, place, value...); }, values);
}

}  // namespace detail

/// concat() as an op at `place`.
template <class X, class... More>
  requires any_value<std::remove_cvref_t<X>> &&
      (any_value<std::remove_cvref_t<More>>&&...) constexpr auto concat_at(Place place, X&& x, More&&... more) {
    using First = std::remove_cvref_t<X>;
    static_assert((First::rank == 2 || First::rank == 4) && ((First::rank == std::remove_cvref_t<More>::rank) && ...),
                  "mixprec: concat: the values must all be (N,C) or all be (N,C,H,W). Reshape the others.");
    static_assert(sizeof...(More) < 32, "mixprec: concat: it takes at most 32 values. Concatenate in two steps.");
    constexpr int channels =
        First::channels == dynamic_channels || ((std::remove_cvref_t<More>::channels == dynamic_channels) || ...)
            ? dynamic_channels
            : (First::channels + ... + std::remove_cvref_t<More>::channels);
    using T = type_of_t<detail::precision_of<ops::Concat, First, std::remove_cvref_t<More>...>.result>;
    if constexpr (detail::joins_concat<X, T> || (detail::joins_concat<More, T> || ...)) {
      auto const whole = ops::Concat{}.shape(x.shape(), more.shape()...);
      if (whole.fits() && detail::is_positive(whole.shape)) {
        auto& session = x.session();
        return detail::concat_into<channels>(session, session.template allocate<T>(whole.shape), place,
                                             std::forward<X>(x), std::forward<More>(more)...);
      }
    }
    return apply_as<channels>(ops::Concat{}, place, x, more...);
  }

  /// torch.cat(values, dim=1): the values side by side along channels, in the order given. Temporary batch norms
  /// (relu_later with a relu) and resizes that nothing has read write their channels into the result; others are
  /// copied, and in inference all are.
  template <class X, class... More>
    requires any_value<std::remove_cvref_t<X>> &&
        (any_value<std::remove_cvref_t<More>>&&...) constexpr auto concat(X&& x, More&&... more) {
      return concat_at(x.place(), std::forward<X>(x), std::forward<More>(more)...);
    }

}  // namespace mixprec::inline MIXPREC_ABI
