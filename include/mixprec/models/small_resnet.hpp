// SPDX-License-Identifier: Apache-2.0
// A small residual network for 28x28 images: the quickstart's model and the benchmarks'.
#pragma once

#include <type_traits>

#include <mixprec/models/resnet.hpp>

namespace mixprec::inline MIXPREC_ABI::models {

/// Stem of 3x3 and `Width` channels, one to three stages of `Blocks` blocks at widths w, 2w, 4w, average pool, linear.
/// Shapes: (N,Channels,H,W) -> (N,Classes). Parameter names are torchvision's ResNet's.
template <int Width = 32, int Blocks = 2, int Classes = 10, int Channels = 1, int Stages = 3>
struct SmallResNet {
  static_assert(Stages >= 1 && Stages <= 3, "mixprec: SmallResNet has 1, 2 or 3 stages. Choose one of these.");

  nn::Conv2d<Channels, Width, 3, nn::Conv2dOptions{.padding = 1, .bias = false}> conv1;
  nn::BatchNorm2d<Width> bn1;
  Stage<BasicBlock, Width, Width, 1, Blocks> layer1;
  std::conditional_t<(Stages > 1), Stage<BasicBlock, Width, 2 * Width, 2, Blocks>, nn::Identity> layer2;
  std::conditional_t<(Stages > 2), Stage<BasicBlock, 2 * Width, 4 * Width, 2, Blocks>, nn::Identity> layer3;
  nn::GlobalAvgPool2d avgpool;
  nn::Linear<(Width << (Stages - 1)), Classes> fc;
  MIXPREC_MODULE(conv1, bn1, layer1, layer2, layer3, avgpool, fc)

  constexpr auto operator()(auto const& x) const { return fc(avgpool(layer3(layer2(layer1(relu(bn1(conv1(x)))))))); }
};

}  // namespace mixprec::inline MIXPREC_ABI::models
