// SPDX-License-Identifier: Apache-2.0
// relu, add, mul: one element in, one element out.
#pragma once

#include <mixprec/ops/cast.hpp>

namespace mixprec::inline MIXPREC_ABI {

namespace ops {

/// y = max(x, 0); NaN stays NaN. Precision: follows x. Backward: dx = dy where y > 0, else 0; keeps y.
struct Relu : OpBase {
  using precision = FollowOp;
  static constexpr char const* name = "relu";

  template <int Rank>
  constexpr Shaped<Rank> shape(Shape<Rank> x) const {
    return x;
  }
  constexpr Keeps keeps(unsigned) const { return {.result = true}; }
  void forward(auto& session, auto& y, auto&, auto const& x) const {
    relu_forward(session.stream(), x.data(), y.data(), x.size());
  }
  void backward(auto& session, auto const& context, auto& gradients) const {
    relu_backward(session.stream(), context.result.data(), context.gradient.data(), std::get<0>(gradients).data(),
                  context.result.size());
  }
};

/// The shape rule of two operands of one shape.
struct SameShape : OpBase {
  template <int Rank>
  constexpr Shaped<Rank> shape(Shape<Rank> a, Shape<Rank> b) const {
    for (int axis = 0; axis < Rank; ++axis)
      if (a[axis] != b[axis])
        return {axis == 1 ? "channels of the two operands" : "extents of the two operands", a[axis], b[axis]};
    return a;
  }
};

/// y = a + b. Precision: the wider of the two dtypes, computed in float. Backward: dy to both; keeps nothing.
struct Add : SameShape {
  using precision = PromoteOp;
  static constexpr char const* name = "add";

  constexpr Keeps keeps(unsigned) const { return {}; }
  void forward(auto& session, auto& y, auto&, auto const& a, auto const& b) const {
    add(session.stream(), a.data(), b.data(), y.data(), y.size());
  }
  void backward(auto& session, auto const& context, auto& gradients) const {
    auto const pass = [&](auto const& to) {
      if (to) cast(session.stream(), context.gradient.data(), to.data(), to.size());
    };
    std::apply([&](auto const&... to) { (pass(to), ...); }, gradients);
  }
};

/// y = a * b. Precision: the wider of the two dtypes, computed in float. Backward: da = dy*b, db = dy*a; keeps a, b.
struct Mul : SameShape {
  using precision = PromoteOp;
  static constexpr char const* name = "mul";

  constexpr Keeps keeps(unsigned needs) const { return {.operands = ((needs & 1u) << 1) | (needs >> 1 & 1u)}; }
  void forward(auto& session, auto& y, auto&, auto const& a, auto const& b) const {
    mul(session.stream(), a.data(), b.data(), y.data(), y.size());
  }
  void backward(auto& session, auto const& context, auto& gradients) const {
    auto const& [a, b] = context.operands;
    auto const& [da, db] = gradients;
    if (da) mul(session.stream(), context.gradient.data(), b.data(), da.data(), da.size());
    if (db) mul(session.stream(), context.gradient.data(), a.data(), db.data(), db.size());
  }
};

/// x times a constant. Precision: follows x; the product in the accumulator type. Backward: dy times it; keeps nothing.
struct Scale : OpBase {
  using precision = FollowOp;
  static constexpr char const* name = "scale";
  double factor = 1;

  template <int Rank>
  constexpr Shaped<Rank> shape(Shape<Rank> x) const {
    return x;
  }
  constexpr Keeps keeps(unsigned) const { return {}; }
  void forward(auto& session, auto& y, auto&, auto const& x) const {
    scale(session.stream(), x.data(), factor, y.data(), y.size());
  }
  void backward(auto& session, auto const& context, auto& gradients) const {
    auto const& dx = std::get<0>(gradients);
    scale(session.stream(), context.gradient.data(), factor, dx.data(), dx.size());
  }
};

}  // namespace ops

/// torch.nn.functional.relu.
constexpr auto relu(any_value auto const& x) { return apply(ops::Relu{}, x.place(), x); }
/// torch.add for operands of one shape.
template <any_value A, any_value B>
constexpr auto add(A const& a, B const& b) {
  return apply(ops::Add{}, a.place(), a, b);
}
/// torch.mul for operands of one shape.
template <any_value A, any_value B>
constexpr auto mul(A const& a, B const& b) {
  return apply(ops::Mul{}, a.place(), a, b);
}
/// torch.mul by a number. Scalars too: 0.4 * loss.
constexpr auto operator*(double factor, any_value auto const& x) { return apply(ops::Scale{{}, factor}, x.place(), x); }
constexpr auto operator*(any_value auto const& x, double factor) { return factor * x; }
constexpr auto operator+(any_value auto const& a, any_value auto const& b) { return mixprec::add(a, b); }
constexpr auto operator*(any_value auto const& a, any_value auto const& b) { return mixprec::mul(a, b); }

}  // namespace mixprec::inline MIXPREC_ABI
