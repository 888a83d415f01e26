// SPDX-License-Identifier: Apache-2.0
// Concatenation along channels.
#pragma once

#include <mixprec/ops/apply.hpp>

namespace mixprec::inline MIXPREC_ABI {

namespace ops {

/// Shapes: (N,C1,H,W), (N,C2,H,W), ... -> (N,C1+C2+...,H,W), or (N,C1), (N,C2), ... -> (N,C1+C2+...). Precision: the
/// widest operand's dtype; narrower ones are converted while they are copied. Backward: copies the slices of dy; keeps
/// nothing.
struct Concat : OpBase {
  using precision = PromoteOp;
  static constexpr char const* name = "concat";
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
    auto const copy = [&](auto const& x) {
      std::int64_t const columns = x.shape()[1];
      copy_columns(session.stream(), rows, columns, x.data(), columns, y.data() + at, channels);
      at += columns;
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

/// concat() as an op at `place`.
template <any_value X, any_value... More>
constexpr auto concat_at(Place place, X const& x, More const&... more) {
  static_assert((X::rank == 2 || X::rank == 4) && ((X::rank == More::rank) && ...),
                "mixprec: concat: the values must all be (N,C) or all be (N,C,H,W). Reshape the others.");
  constexpr int channels = X::channels == dynamic_channels || ((More::channels == dynamic_channels) || ...)
                               ? dynamic_channels
                               : (X::channels + ... + More::channels);
  return apply_as<channels>(ops::Concat{}, place, x, more...);
}

/// torch.cat(values, dim=1): the values side by side along channels, in the order given.
template <any_value X, any_value... More>
constexpr auto concat(X const& x, More const&... more) {
  return concat_at(x.place(), x, more...);
}

}  // namespace mixprec::inline MIXPREC_ABI
