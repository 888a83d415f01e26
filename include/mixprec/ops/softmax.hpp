// SPDX-License-Identifier: Apache-2.0
// softmax and log_softmax over the last axis of a matrix.
#pragma once

#include <mixprec/ops/apply.hpp>

namespace mixprec::inline MIXPREC_ABI {

namespace ops {

/// Shapes: (N,V) -> (N,V). Precision: float arithmetic and result; a half operand is converted in registers.
/// Backward: from the result alone; keeps it.
template <bool Log>
struct SoftmaxOf : OpBase {
  using precision = Fp32Op;
  static constexpr char const* name = Log ? "log_softmax" : "softmax";

  constexpr Shaped<2> shape(Shape<2> x) const { return x; }
  constexpr double flops(Shape<2> y, Shape<2>) const { return 4.0 * static_cast<double>(y.size()); }
  constexpr Keeps keeps(unsigned) const { return {.result = true}; }
  void forward(auto& session, auto& y, auto&, auto const& x) const {
    softmax_forward(session.stream(), x.shape()[0], x.shape()[1], Log, x.data(), y.data());
  }
  void backward(auto& session, auto const& context, auto& gradients) const {
    auto const& y = context.result;
    softmax_backward(session.stream(), y.shape()[0], y.shape()[1], Log, y.data(), context.gradient.data(),
                     std::get<0>(gradients).data());
  }
};
using Softmax = SoftmaxOf<false>;
using LogSoftmax = SoftmaxOf<true>;

}  // namespace ops

/// torch.softmax(x, 1).
constexpr auto softmax(any_value auto const& x) { return apply(ops::Softmax{}, x.place(), x); }
/// torch.log_softmax(x, 1).
constexpr auto log_softmax(any_value auto const& x) { return apply(ops::LogSoftmax{}, x.place(), x); }

}  // namespace mixprec::inline MIXPREC_ABI
