// SPDX-License-Identifier: Apache-2.0
// Batch normalisation, alone or with the residual add and the relu that follow it.
#pragma once

#include <mixprec/ops/elementwise.hpp>

namespace mixprec::inline MIXPREC_ABI {

namespace ops {

/// Settings of one batch norm and the buffers it owns.
struct BatchNormState {
  Buffer running_mean, running_var;
  double eps = 1e-5, momentum = 0.1;
  bool frozen = false;  // running statistics even in training, and left as they are
};

/// Shapes: x (N,C,H,W) or (N,C), weight (C), bias (C), residual as x -> as x.
/// y = (x - mean) / sqrt(var + eps) * weight + bias, [+ residual], [relu]; statistics over everything but C.
/// Precision: data follows x (with a residual, which has x's dtype), statistics and arithmetic float, weight and bias
/// as they are stored. Each stage rounds to the result's dtype, so the fused op equals the three ops bit for bit.
/// Running statistics: float; running_var takes the unbiased variance. Backward: keeps x, mean, invstd; behind a
/// sum with a residual, relu's result too, whose sign x does not tell. Source: Ioffe and Szegedy 2015, Algorithm 1.
template <bool Residual, bool Rectify>
struct BatchNorm : OpBase {
  using precision = FollowOp;
  static constexpr char const* name =
      Residual ? (Rectify ? "batch_norm+add+relu" : "batch_norm+add") : (Rectify ? "batch_norm+relu" : "batch_norm");
  static constexpr bool float_parameters = true;
  static constexpr RecomputeLevel again_from = Residual ? RecomputeLevel::nothing : RecomputeLevel::norms;

  BatchNormState state;
  bool batch_statistics = true;
  ResultColumns columns = {};

  template <int Rank>
  constexpr Shaped<Rank> shape(Shape<Rank> x, Shape<1> weight, Shape<1>, auto const&... residual) const {
    if (x[1] != weight[0]) return {"input channels", weight[0], x[1]};
    if (batch_statistics && x.size() / (x[1] > 0 ? x[1] : 1) < 2)
      return {"values per channel in training (at least 2)", 2, x.size() / (x[1] > 0 ? x[1] : 1),
              "Train on larger batches (a loader's drop_last leaves the last one out), or use set_training(false)."};
    Shaped<Rank> result = x;
    ((result = SameShape{}.shape(x, residual)), ...);
    return result;
  }
  constexpr double flops(auto const& y, auto const&...) const {
    return static_cast<double>(y.size()) * (4 + Residual + Rectify);
  }
  template <class T>
  constexpr auto saved(auto& session, unsigned, auto const&, Shape<1> weight, auto const&...) const {
    using A = accumulator_t<T>;
    return std::tuple{session.template allocate<A>(weight), session.template allocate<A>(weight)};  // mean, invstd
  }
  constexpr Keeps keeps(unsigned) const { return {.operands = 0b111, .result = Residual && Rectify}; }

  void forward(auto& session, auto& y, auto& saved, auto const& x, auto const& weight, auto const& bias,
               auto const&... residual) const {
    auto& stream = session.stream();
    auto const& [mean, invstd] = saved;
    using T = typename std::remove_cvref_t<decltype(y)>::dtype;
    using A = accumulator_t<T>;
    std::int64_t const c = weight.size(), rows = x.size() / c;
    A* const running_mean = session.template buffer<A>(state.running_mean);
    A* const running_var = session.template buffer<A>(state.running_var);
    if (batch_statistics) {
      bool const moves = !session.replaying();  // a block that runs again has moved them already
      batch_norm_statistics(stream, rows, c, x.data(), state.eps, mean.data(), invstd.data(),
                            moves ? running_mean : nullptr, moves ? running_var : nullptr, state.momentum);
    } else {
      cast(stream, static_cast<A const*>(running_mean), mean.data(), c);
      batch_norm_invstd(stream, c, static_cast<A const*>(running_var), state.eps, invstd.data());
    }
    normalise(session, y, saved, x, weight, bias, residual...);
  }
  void again(auto& session, auto const& y, auto const& saved, auto const& x, auto const& weight,
             auto const& bias) const {
    normalise(session, y, saved, x, weight, bias);
  }

  void backward(auto& session, auto const& context, auto& gradients) const {
    auto const& x = std::get<0>(context.operands);
    auto const& weight = std::get<1>(context.operands);
    auto const& [mean, invstd] = context.saved;
    std::int64_t const c = weight.size(), rows = x.size() / c;
    using T = typename std::remove_cvref_t<decltype(x)>::dtype;
    T* residual = nullptr;
    auto const* bias = std::get<2>(context.operands).data();
    if constexpr (Residual) {
      residual = std::get<3>(gradients).data();
      bias = nullptr;  // the sign of relu's operand depends on the residual too
    }
    batch_norm_backward(session.stream(), rows, c, x.data(), context.result.data(),
                        context.gradient.data() + columns.first, mean.data(), invstd.data(), weight.data(), bias,
                        Rectify, batch_statistics, std::get<0>(gradients).data(), residual,
                        std::get<1>(gradients).data(), std::get<2>(gradients).data(), columns.stride);
  }

 private:
  void normalise(auto& session, auto const& y, auto const& saved, auto const& x, auto const& weight, auto const& bias,
                 auto const&... residual) const {
    auto const& [mean, invstd] = saved;
    std::int64_t const c = weight.size(), rows = x.size() / c;
    typename std::remove_cvref_t<decltype(x)>::dtype const* added = nullptr;
    ((added = residual.data()), ...);
    batch_norm_forward(session.stream(), rows, c, x.data(), mean.data(), invstd.data(), weight.data(), bias.data(),
                       added, Rectify, y.data(), columns.stride);
  }
};

}  // namespace ops

}  // namespace mixprec::inline MIXPREC_ABI
