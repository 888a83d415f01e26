// SPDX-License-Identifier: Apache-2.0
// A small residual network for 28x28 images: the quickstart's model and the benchmarks'.
#pragma once

#include <type_traits>
#include <utility>  // std::integer_sequence

#include <mixprec/nn/containers.hpp>

namespace mixprec::inline MIXPREC_ABI::models {

/// Two 3x3 convolutions and a shortcut. Source: He et al. 2015, section 3.3; names as in torchvision's BasicBlock.
template <int In, int Out, int Stride>
struct BasicBlock {
  static constexpr bool projects = Stride != 1 || In != Out;
  using Downsample =
      nn::Sequential<nn::Conv2d<In, Out, 1, nn::Conv2dOptions{.stride = Stride, .bias = false}>, nn::BatchNorm2d<Out>>;

  nn::Conv2d<In, Out, 3, nn::Conv2dOptions{.stride = Stride, .padding = 1, .bias = false}> conv1;
  nn::BatchNorm2d<Out> bn1;
  nn::Conv2d<Out, Out, 3, nn::Conv2dOptions{.padding = 1, .bias = false}> conv2;
  nn::BatchNorm2d<Out> bn2;
  std::conditional_t<projects, Downsample, nn::Identity> downsample;
  MIXPREC_MODULE(conv1, bn1, conv2, bn2, downsample)

  constexpr auto operator()(auto const& x) const {
    auto const shortcut = downsample(x);
    return relu(bn2(conv2(relu(bn1(conv1(x))))) + shortcut);
  }
};

namespace detail {
template <int In, int Out, int Stride, class Indices>
struct StageOf;
template <int In, int Out, int Stride, int... I>
struct StageOf<In, Out, Stride, std::integer_sequence<int, 0, I...>> {
  using type = nn::Sequential<BasicBlock<In, Out, Stride>, std::enable_if_t<(I > 0), BasicBlock<Out, Out, 1>>...>;
};
}  // namespace detail

/// `Blocks` residual blocks; the first one changes width and resolution.
template <int In, int Out, int Stride, int Blocks>
using Stage = typename detail::StageOf<In, Out, Stride, std::make_integer_sequence<int, Blocks>>::type;

/// Stem of 3x3 and `Width` channels, one to three stages of `Blocks` blocks at widths w, 2w, 4w, average pool, linear.
/// Shapes: (N,Channels,H,W) -> (N,Classes). Parameter names are torchvision's ResNet's.
template <int Width = 32, int Blocks = 2, int Classes = 10, int Channels = 1, int Stages = 3>
struct SmallResNet {
  static_assert(Stages >= 1 && Stages <= 3, "mixprec: SmallResNet has 1, 2 or 3 stages. Choose one of these.");

  nn::Conv2d<Channels, Width, 3, nn::Conv2dOptions{.padding = 1, .bias = false}> conv1;
  nn::BatchNorm2d<Width> bn1;
  Stage<Width, Width, 1, Blocks> layer1;
  std::conditional_t<(Stages > 1), Stage<Width, 2 * Width, 2, Blocks>, nn::Identity> layer2;
  std::conditional_t<(Stages > 2), Stage<2 * Width, 4 * Width, 2, Blocks>, nn::Identity> layer3;
  nn::GlobalAvgPool2d avgpool;
  nn::Linear<(Width << (Stages - 1)), Classes> fc;
  MIXPREC_MODULE(conv1, bn1, layer1, layer2, layer3, avgpool, fc)

  constexpr auto operator()(auto const& x) const { return fc(avgpool(layer3(layer2(layer1(relu(bn1(conv1(x)))))))); }
};

}  // namespace mixprec::inline MIXPREC_ABI::models
