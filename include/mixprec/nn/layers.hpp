// SPDX-License-Identifier: Apache-2.0
// Layers as types: Linear, Conv2d, BatchNorm, ReLU, pooling, Dropout, Flatten. Names and defaults are PyTorch's.
#pragma once

#include <mixprec/nn/folding.hpp>
#include <mixprec/nn/module.hpp>
#include <mixprec/nn/probability.hpp>
#include <mixprec/ops/adaptive_pool.hpp>
#include <mixprec/ops/conv2d.hpp>
#include <mixprec/ops/dropout.hpp>
#include <mixprec/ops/elementwise.hpp>
#include <mixprec/ops/layout.hpp>
#include <mixprec/ops/linear.hpp>
#include <mixprec/ops/pool.hpp>
#include <mixprec/ops/softmax.hpp>

namespace mixprec::inline MIXPREC_ABI::nn {

template <int>
struct Expects {};
template <int>
struct Receives {};

/// Left undefined: where channels do not fit, the first error line of every compiler shows this name, the layer and
/// both values. A deleted function would do for g++ and nvcc; clang names neither its layer nor its values.
template <class Layer, class Wanted, class Got>
struct ChannelsDoNotFit;

template <class Layer, int Wanted, int Got>
constexpr void input_channels_fit(Expects<Wanted>, Receives<Got>) {
  if constexpr (Wanted != Got && Got != dynamic_channels) {
    static_assert(sizeof(ChannelsDoNotFit<Layer, Expects<Wanted>, Receives<Got>>) > 0,
                  "mixprec: a layer gets another number of channels than it was declared for. Change one of the two.");
  }
}

namespace detail {
/// The op of a layer on its weight and bias. Folding gives a layer that was declared without a bias one.
template <int Out, bool Bias, class Layer, class Op, class X>
constexpr auto run_layer(Layer const& layer, Op const& op, X const& x) {
  auto const run = [&](auto const&... parameters) {
    return apply_layer<Out>(layer.module_id, op, own_place(layer), x, parameters...);
  };
  if constexpr (Bias) {
    return run(layer.weight, layer.bias);
  } else if constexpr (inference_policy<typename X::policy>) {
    return layer.bias.id < 0 ? run(layer.weight) : run(layer.weight, layer.bias);
  } else {
    return run(layer.weight);
  }
}
}  // namespace detail

/// y = x W^T + b. Shapes: (N,In) -> (N,Out). Precision: Fp16Op. torch.nn.Linear.
template <int In, int Out, bool Bias = true>
struct Linear : Module {
  Parameter<2> weight{Shape<2>{Out, In}, ParameterKind::weight};
  Parameter<1> bias{Shape<1>{Out}, ParameterKind::bias};

  constexpr auto operator()(any_value auto const& x) const {
    input_channels_fit<Linear>(Expects<In>{}, Receives<std::remove_cvref_t<decltype(x)>::channels>{});
    return detail::run_layer<Out, Bias>(*this, ops::Linear{}, x);
  }
  template <class Self, class Visitor>
  static constexpr void members(Self& self, Visitor& visitor) {
    visitor.parameter("weight", self.weight, {0, In});
    if constexpr (Bias) visitor.parameter("bias", self.bias, {0, In});
  }
};

/// Settings of Conv2d, named as in PyTorch.
struct Conv2dOptions {
  int stride = 1, padding = 0, dilation = 1, groups = 1;
  bool bias = true;
};

/// Shapes: (N,In,H,W) -> (N,Out,P,Q). Precision: Fp16Op. torch.nn.Conv2d with a square kernel.
template <int In, int Out, int Kernel, Conv2dOptions Options = Conv2dOptions{}>
struct Conv2d : Module {
  static_assert(Kernel >= 1,
                "mixprec: Conv2d: the kernel is less than 1. Give Conv2d<In, Out, Kernel> one of at least 1.");
  static_assert(Options.stride >= 1, "mixprec: Conv2d: the stride is less than 1. Give .stride at least 1.");
  static_assert(Options.dilation >= 1, "mixprec: Conv2d: the dilation is less than 1. Give .dilation at least 1.");
  static_assert(Options.padding >= 0, "mixprec: Conv2d: the padding is negative. Give .padding at least 0.");
  static_assert(Options.groups >= 1, "mixprec: Conv2d: the groups are fewer than 1. Give .groups at least 1.");
  static_assert(
      In % Options.groups == 0 && Out % Options.groups == 0,
      "mixprec: Conv2d: groups must divide the input and the output channels. Change groups or the channels.");
  Parameter<4> weight{Shape<4>{Out, In / Options.groups, Kernel, Kernel}, ParameterKind::weight};
  Parameter<1> bias{Shape<1>{Out}, ParameterKind::bias};

  constexpr auto operator()(any_value auto const& x) const {
    input_channels_fit<Conv2d>(Expects<In>{}, Receives<std::remove_cvref_t<decltype(x)>::channels>{});
    ops::Conv2d const op{{}, Options.stride, Options.padding, Options.dilation, Options.groups};
    return detail::run_layer<Out, Options.bias>(*this, op, x);
  }
  template <class Self, class Visitor>
  static constexpr void members(Self& self, Visitor& visitor) {
    constexpr std::int64_t fan_in = std::int64_t{In / Options.groups} * Kernel * Kernel;
    visitor.parameter("weight", self.weight, {0, fan_in});
    if constexpr (Options.bias) visitor.parameter("bias", self.bias, {0, fan_in});
  }
};

/// Shapes: (N,C,H,W) or (N,C) -> the same. Precision: data follows its operand, statistics float.
/// torch.nn.BatchNorm1d and BatchNorm2d. An add and a relu behind it join it (ops/pending_norm.hpp).
template <int Channels>
struct BatchNorm : Module {
  Parameter<1> weight{Shape<1>{Channels}, ParameterKind::norm_weight};
  Parameter<1> bias{Shape<1>{Channels}, ParameterKind::norm_bias};
  ops::BatchNormState state{.running_mean = {Channels, 0.0}, .running_var = {Channels, 1.0}};
  bool folded = false;  // in an inference pass: the layer before holds it, and the input passes through

  constexpr auto operator()(any_value auto const& x) const {
    input_channels_fit<BatchNorm>(Expects<Channels>{}, Receives<std::remove_cvref_t<decltype(x)>::channels>{});
    auto operand = detail::norm_operand(module_id, x);
    bool const batch_statistics = x.session().training() && !state.frozen;
    return PendingNorm<decltype(operand), Channels>(std::move(operand), weight, bias, state, batch_statistics, folded,
                                                    own_place(*this));
  }
  template <class Self, class Visitor>
  static constexpr void members(Self& self, Visitor& visitor) {
    visitor.parameter("weight", self.weight, {1.0});
    visitor.parameter("bias", self.bias, {0.0});
    visitor.buffer("running_mean", self.state.running_mean);
    visitor.buffer("running_var", self.state.running_var);
  }
};
template <int Channels>
using BatchNorm2d = BatchNorm<Channels>;
template <int Channels>
using BatchNorm1d = BatchNorm<Channels>;

/// Base of modules without parameters.
struct Stateless : Module {
  template <class Self, class Visitor>
  static constexpr void members(Self&, Visitor&) {}
};

struct ReLU : Stateless {
  template <class X>
    requires any_value<std::remove_cvref_t<X>>
  constexpr auto operator()(X&& x) const {
    if constexpr (mixprec::detail::open_norm<X>) {
      return relu(std::forward<X>(x));
    } else {
      return apply(ops::Relu{}, own_place(*this), x);
    }
  }
  /// The relu of a batch norm before it has run, for concat.
  template <mixprec::detail::open_norm X>
  constexpr auto pending(X&& x) const {
    return relu_later(std::move(x));
  }
};

namespace detail {
/// What a pooling layer's numbers must be; the compiler's first error shows them.
template <int Kernel, int Stride, int Padding>
struct PoolingWindow : Stateless {
  static_assert(Kernel >= 1,
                "mixprec: pooling: the kernel is less than 1. Give MaxPool2d or AvgPool2d one of at least 1.");
  static_assert(Stride >= 1, "mixprec: pooling: the stride is less than 1. Give at least 1, or none for the kernel's.");
  static_assert(Padding >= 0, "mixprec: pooling: the padding is negative. Give at least 0.");
  static_assert(2 * Padding <= Kernel, "mixprec: pooling: the padding is more than half the kernel. Give less.");
};
}  // namespace detail

/// Shapes: (N,C,H,W) -> (N,C,P,Q). Precision: follows its operand. torch.nn.MaxPool2d with a square window.
template <int Kernel, int Stride = Kernel, int Padding = 0>
struct MaxPool2d : detail::PoolingWindow<Kernel, Stride, Padding> {
  constexpr auto operator()(any_value auto const& x) const {
    return apply(ops::MaxPool2d{{{}, Kernel, Stride, Padding}}, own_place(*this), x);
  }
};

/// As MaxPool2d, the mean of each window, padding counted. torch.nn.AvgPool2d.
template <int Kernel, int Stride = Kernel, int Padding = 0>
struct AvgPool2d : detail::PoolingWindow<Kernel, Stride, Padding> {
  constexpr auto operator()(any_value auto const& x) const {
    return apply(ops::AvgPool2d{{{}, Kernel, Stride, Padding}}, own_place(*this), x);
  }
};

/// (N,C,H,W) -> (N,C,Height,Width). torch.nn.AdaptiveAvgPool2d.
template <int Height, int Width = Height>
struct AdaptiveAvgPool2d : Stateless {
  static_assert(Height > 0 && Width > 0,
                "mixprec: AdaptiveAvgPool2d: the grid has less than one row or column. Give at least 1 of each.");
  constexpr auto operator()(any_value auto const& x) const {
    return apply(ops::AdaptiveAvgPool2d{{}, Height, Width}, own_place(*this), x);
  }
};

/// (N,C,H,W) -> (N,C): torch.nn.AdaptiveAvgPool2d(1) and Flatten.
struct GlobalAvgPool2d : Stateless {
  constexpr auto operator()(any_value auto const& x) const {
    return apply(ops::GlobalAvgPool2d{}, own_place(*this), x);
  }
};

/// Zeroes elements with probability `P` in training, and scales the others by 1 / (1 - P). torch.nn.Dropout:
/// `Dropout<0.25>`.
template <Probability P = 0.5>
struct Dropout : Stateless {
  static_assert(P.valid(), "mixprec: Dropout: the probability lies in [0, 1). Dropout<0.25> drops a quarter.");
  constexpr auto operator()(any_value auto const& x) const { return dropout(x, P.value(), own_place(*this)); }
};

/// Dropout of whole channels. torch.nn.Dropout2d.
template <Probability P = 0.5>
struct Dropout2d : Stateless {
  static_assert(P.valid(), "mixprec: Dropout2d: the probability lies in [0, 1). Dropout2d<0.1> drops a tenth.");
  constexpr auto operator()(any_value auto const& x) const { return dropout2d(x, P.value(), own_place(*this)); }
};

struct Flatten : Stateless {
  constexpr auto operator()(any_value auto const& x) const { return flatten(x, own_place(*this)); }
};

struct Softmax : Stateless {
  constexpr auto operator()(any_value auto const& x) const { return apply(ops::Softmax{}, own_place(*this), x); }
};

struct LogSoftmax : Stateless {
  constexpr auto operator()(any_value auto const& x) const { return apply(ops::LogSoftmax{}, own_place(*this), x); }
};

}  // namespace mixprec::inline MIXPREC_ABI::nn
