// SPDX-License-Identifier: Apache-2.0
// sum and mean over all elements.
#pragma once

#include <mixprec/ops/apply.hpp>

namespace mixprec::inline MIXPREC_ABI {

namespace ops {

/// Shapes: any -> (). Precision: float sums. Backward: dy (over the count) to every element; keeps nothing.
template <bool Mean>
struct Reduction : OpBase {
  static constexpr int channels(int) { return dynamic_channels; }

  constexpr Shaped<0> shape(auto const&) const { return Shape<0>{}; }
  constexpr double flops(Shape<0>, auto const& x) const { return static_cast<double>(x.size()); }
  constexpr Keeps keeps(unsigned) const { return {}; }
  void forward(auto& session, auto& y, auto&, auto const& x) const {
    sum(session.stream(), x.data(), x.size(), factor(x.size()), y.data());
  }
  void backward(auto& session, auto const& context, auto& gradients) const {
    auto const& dx = std::get<0>(gradients);
    broadcast_scalar(session.stream(), context.gradient.data(), factor(dx.size()), dx.data(), dx.size());
  }

 private:
  static double factor(std::int64_t count) { return Mean ? 1.0 / static_cast<double>(count) : 1.0; }
};

/// Result in float, as PyTorch's autocast has it.
struct Sum : Reduction<false> {
  using precision = Fp32Op;
  static constexpr char const* name = "sum";
};
/// Result in x's dtype: PyTorch's autocast leaves mean alone.
struct Mean : Reduction<true> {
  using precision = FollowOp;
  static constexpr char const* name = "mean";
};

}  // namespace ops

/// torch.sum(x).
constexpr auto sum(any_value auto const& x) { return apply(ops::Sum{}, x.place(), x); }
/// torch.mean(x).
constexpr auto mean(any_value auto const& x) { return apply(ops::Mean{}, x.place(), x); }

}  // namespace mixprec::inline MIXPREC_ABI
