// SPDX-License-Identifier: Apache-2.0
// Matrix products: matmul of two values, and the fully connected layer.
#pragma once

#include <mixprec/ops/cast.hpp>

namespace mixprec::inline MIXPREC_ABI {

namespace ops {

/// Shapes: (M,K) x (K,N) -> (M,N). Precision: low operands and result, float sums. Backward: da = dy b^T, db = a^T dy.
struct Matmul : OpBase {
  using precision = Fp16Op;
  static constexpr char const* name = "matmul";
  static constexpr bool folds_casts = false;
  static constexpr int channels(int) { return dynamic_channels; }

  constexpr Shaped<2> shape(Shape<2> a, Shape<2> b) const {
    if (a[1] != b[0]) return {"inner sizes", a[1], b[0]};
    return Shape{a[0], b[1]};
  }
  constexpr double flops(Shape<2> y, Shape<2> a, Shape<2>) const { return 2.0 * static_cast<double>(y.size() * a[1]); }
  constexpr Keeps keeps(unsigned needs) const { return {.operands = ((needs & 1u) << 1) | (needs >> 1 & 1u)}; }
  void forward(auto& session, auto& y, auto&, auto const& a, auto const& b) const {
    matmul(session.stream(), false, false, a.shape()[0], b.shape()[1], a.shape()[1], a.data(), b.data(), y.data());
  }
  void backward(auto& session, auto const& context, auto& gradients) const {
    auto const& [a, b] = context.operands;
    auto const& [da, db] = gradients;
    auto const& dy = context.gradient;
    std::int64_t const m = a.shape()[0], k = a.shape()[1], n = b.shape()[1];
    if (da) matmul(session.stream(), false, true, m, k, n, dy.data(), b.data(), da.data());
    if (db) matmul(session.stream(), true, false, k, n, m, a.data(), dy.data(), db.data());
  }
};

/// Shapes: x (N,in), weight (out,in), bias (out) -> (N,out). Precision: low operands and result, float sums.
/// Backward: dx = dy W, dW = dy^T x, db = column sums of dy; keeps x where W is trained, W where x wants a gradient.
struct Linear : OpBase {
  using precision = Fp16Op;
  static constexpr char const* name = "linear";
  static constexpr bool folds_casts = false;

  constexpr Shaped<2> shape(Shape<2> x, Shape<2> weight, auto const&...) const {
    if (x[1] != weight[1]) return {"input features", weight[1], x[1]};
    return Shape{x[0], weight[0]};
  }
  constexpr double flops(Shape<2> y, Shape<2> x, auto const&...) const {
    return 2.0 * static_cast<double>(y.size() * x[1]);
  }
  constexpr Keeps keeps(unsigned needs) const { return {.operands = ((needs & 1u) << 1) | (needs >> 1 & 1u)}; }
  void forward(auto& session, auto& y, auto&, auto const& x, auto const& weight, auto const&... bias) const {
    std::int64_t const m = x.shape()[0], n = weight.shape()[0], k = x.shape()[1];
    if constexpr (sizeof...(bias) == 1) {
      matmul_bias(session.stream(), false, true, m, n, k, x.data(), weight.data(), bias.data()..., y.data());
    } else {
      matmul(session.stream(), false, true, m, n, k, x.data(), weight.data(), y.data());
    }
  }
  void backward(auto& session, auto const& context, auto& gradients) const {
    auto const& x = std::get<0>(context.operands);
    auto const& weight = std::get<1>(context.operands);
    auto const& dy = context.gradient;
    std::int64_t const m = x.shape()[0], n = weight.shape()[0], k = x.shape()[1];
    if (auto const& dx = std::get<0>(gradients))
      matmul(session.stream(), false, false, m, k, n, dy.data(), weight.data(), dx.data());
    if (auto const& dw = std::get<1>(gradients))
      matmul(session.stream(), true, false, n, k, m, dy.data(), x.data(), dw.data());
    if constexpr (std::tuple_size_v<std::remove_cvref_t<decltype(gradients)>> == 3) {
      if (auto const& db = std::get<2>(gradients)) column_sum(session.stream(), m, n, dy.data(), db.data());
    }
  }
};

}  // namespace ops

/// torch.matmul of two matrices.
template <any_value A, any_value B>
constexpr auto matmul(A const& a, B const& b) {
  return apply(ops::Matmul{}, a.place(), a, b);
}

}  // namespace mixprec::inline MIXPREC_ABI
