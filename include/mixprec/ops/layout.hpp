// SPDX-License-Identifier: Apache-2.0
// flatten, reshape and permute in PyTorch's logical order, whatever the memory order is.
#pragma once

#include <array>

#include <mixprec/ops/apply.hpp>

namespace mixprec::inline MIXPREC_ABI {

namespace ops {

/// Shapes: (N,C,H,W) -> (N, C H W) with C slowest. Precision: copies bits. Backward: the inverse copy.
struct Flatten : OpBase {
  using precision = FollowOp;
  static constexpr char const* name = "flatten";
  static constexpr int channels(int) { return dynamic_channels; }

  constexpr Shaped<2> shape(Shape<4> x) const { return Shape{x[0], x[1] * x[2] * x[3]}; }
  constexpr double flops(auto const&...) const { return 0; }
  constexpr Keeps keeps(unsigned) const { return {}; }
  void forward(auto& session, auto& y, auto&, auto const& x) const {
    nhwc_to_nchw(session.stream(), x.shape()[0], x.shape()[2] * x.shape()[3], x.shape()[1], x.data(), y.data());
  }
  void backward(auto& session, auto const& context, auto& gradients) const {
    auto const& dx = std::get<0>(gradients);
    nchw_to_nhwc(session.stream(), dx.shape()[0], dx.shape()[2] * dx.shape()[3], dx.shape()[1], context.gradient.data(),
                 dx.data());
  }
};

/// Shapes: (N, C H W) -> (N,C,H,W). Precision: copies bits. Backward: the inverse copy.
struct Unflatten : OpBase {
  using precision = FollowOp;
  static constexpr char const* name = "unflatten";
  static constexpr int channels(int) { return dynamic_channels; }
  Shape<4> to{};

  constexpr Shaped<4> shape(Shape<2> x) const {
    if (x.size() != to.size()) return {"element counts", x.size(), to.size()};
    return to;
  }
  constexpr double flops(auto const&...) const { return 0; }
  constexpr Keeps keeps(unsigned) const { return {}; }
  void forward(auto& session, auto& y, auto&, auto const& x) const {
    nchw_to_nhwc(session.stream(), to[0], to[2] * to[3], to[1], x.data(), y.data());
  }
  void backward(auto& session, auto const& context, auto& gradients) const {
    nhwc_to_nchw(session.stream(), to[0], to[2] * to[3], to[1], context.gradient.data(), std::get<0>(gradients).data());
  }
};

/// Axis i of the result is axis order[i] of x, both in logical order. Precision: copies bits.
template <int Rank>
struct Permute : OpBase {
  using precision = FollowOp;
  static constexpr char const* name = "permute";
  static constexpr int channels(int) { return dynamic_channels; }
  std::array<int, Rank> order{};

  constexpr Shaped<Rank> shape(Shape<Rank> x) const {
    Shape<Rank> y{};
    unsigned seen = 0;
    for (int axis = 0; axis < Rank; ++axis) {
      int const from = order[static_cast<std::size_t>(axis)];
      if (from < 0 || from >= Rank || (seen >> from & 1u) != 0) return {"axes of the permutation", axis, from};
      seen |= 1u << from;
      y[axis] = x[from];
    }
    return y;
  }
  constexpr double flops(auto const&...) const { return 0; }
  constexpr Keeps keeps(unsigned) const { return {}; }
  void forward(auto& session, auto& y, auto&, auto const& x) const { run(session, order, x, y); }
  void backward(auto& session, auto const& context, auto& gradients) const {
    std::array<int, Rank> inverse{};
    for (int axis = 0; axis < Rank; ++axis)
      inverse[static_cast<std::size_t>(order[static_cast<std::size_t>(axis)])] = axis;
    run(session, inverse, context.gradient, std::get<0>(gradients));
  }

 private:
  // Memory axis j of a rank-4 tensor is logical axis 0,2,3,1; of every other rank, j.
  static constexpr int logical(int memory) { return Rank != 4 || memory == 0 ? memory : memory == 3 ? 1 : memory + 1; }
  static constexpr int memory(int logical) {
    return Rank != 4 || logical == 0 ? logical : logical == 1 ? 3 : logical - 1;
  }
  static void run(auto& session, std::array<int, Rank> const& order, auto const& x, auto const& y) {
    std::int64_t extents[Rank];
    int memory_order[Rank];
    for (int axis = 0; axis < Rank; ++axis) {
      extents[axis] = x.shape()[logical(axis)];
      memory_order[axis] = memory(order[static_cast<std::size_t>(logical(axis))]);
    }
    permute(session.stream(), Rank, extents, memory_order, x.data(), y.data());
  }
};

}  // namespace ops

/// The same elements in row-major logical order under another shape; no copy unless an image changes its memory
/// order. torch.reshape. Errors: element counts that differ.
template <int To, any_value X>
constexpr auto reshape(X const& x, Shape<To> shape) {
  using Result = Value<typename X::backend, typename X::dtype, To, dynamic_channels, typename X::policy>;
  if (x.shape().size() != shape.size())
    x.session().mismatch(x.place(), "reshape", Shaped<To>("element counts", x.shape().size(), shape.size()));
  if constexpr (X::rank == 4) {
    auto const rows = apply(ops::Flatten{}, x.place(), x);
    return reshape(rows, shape);
  } else if constexpr (To == 4) {
    auto const rows = Value<typename X::backend, typename X::dtype, 2, dynamic_channels, typename X::policy>(
        x.session(), x.tensor().view(Shape{shape[0], shape.size() / (shape[0] > 0 ? shape[0] : 1)}), x.slot(),
        x.place());
    return apply(ops::Unflatten{{}, shape}, x.place(), rows);
  } else {
    return Result(x.session(), x.tensor().view(shape), x.slot(), x.place());
  }
}

/// (N, ...) -> (N, everything else) in C,H,W order. torch.flatten(x, 1).
template <any_value X>
constexpr auto flatten(X const& x, Place place) {
  if constexpr (X::rank == 2) {
    return x;
  } else if constexpr (X::rank == 4) {
    return apply(ops::Flatten{}, place, x);
  } else {
    return reshape(x, Shape{x.shape()[0], x.shape().size() / (x.shape()[0] > 0 ? x.shape()[0] : 1)});
  }
}
constexpr auto flatten(any_value auto const& x) { return flatten(x, x.place()); }

/// torch.permute: axis i of the result is axis `order[i]` of x.
template <any_value X>
constexpr auto permute(X const& x, std::array<int, X::rank> order) {
  return apply(ops::Permute<X::rank>{{}, order}, x.place(), x);
}

}  // namespace mixprec::inline MIXPREC_ABI
