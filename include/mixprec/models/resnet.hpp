// SPDX-License-Identifier: Apache-2.0
// Residual networks: blocks, stages, the backbones of segmentation models, and the classifiers.
// Sources: He et al. 2015 (arXiv:1512.03385); v1.5 has the stride in the 3x3 convolution, as torchvision; V1c's deep
// stem is He et al. 2018 (arXiv:1812.01187). Parameter names are torchvision's, the deep stem's mmsegmentation's.
#pragma once

#include <type_traits>
#include <utility>

#include <mixprec/nn/containers.hpp>

namespace mixprec::inline MIXPREC_ABI::models {

/// A convolution without bias that keeps the extents at stride 1.
template <int In, int Out, int Kernel, int Stride = 1, int Dilation = 1, int Groups = 1>
using SameConv2d = nn::Conv2d<
    In, Out, Kernel,
    nn::Conv2dOptions{
        .stride = Stride, .padding = Dilation*(Kernel - 1) / 2, .dilation = Dilation, .groups = Groups, .bias = false}>;

/// The shortcut of a block: nothing where extents and channels stay, else a strided 1x1 convolution and batch norm.
template <int In, int Out, int Stride>
using Shortcut = std::conditional_t<Stride == 1 && In == Out, nn::Identity,
                                    nn::Sequential<SameConv2d<In, Out, 1, Stride>, nn::BatchNorm2d<Out>>>;

/// Two 3x3 convolutions and a shortcut; only the first is dilated. torchvision's and mmsegmentation's BasicBlock.
template <int In, int Planes, int Stride = 1, int Dilation = 1>
struct BasicBlock {
  static constexpr int expansion = 1;

  SameConv2d<In, Planes, 3, Stride, Dilation> conv1;
  nn::BatchNorm2d<Planes> bn1;
  SameConv2d<Planes, Planes, 3> conv2;
  nn::BatchNorm2d<Planes> bn2;
  Shortcut<In, Planes, Stride> downsample;
  MIXPREC_MODULE(conv1, bn1, conv2, bn2, downsample)

  constexpr auto operator()(auto const& x) const {
    auto const shortcut = downsample(x);
    return relu(bn2(conv2(relu(bn1(conv1(x))))) + shortcut);
  }
};

/// 1x1, 3x3 (with stride and dilation) and 1x1 to four times the channels, and a shortcut. Bottleneck, v1.5.
template <int In, int Planes, int Stride = 1, int Dilation = 1>
struct Bottleneck {
  static constexpr int expansion = 4;

  SameConv2d<In, Planes, 1> conv1;
  nn::BatchNorm2d<Planes> bn1;
  SameConv2d<Planes, Planes, 3, Stride, Dilation> conv2;
  nn::BatchNorm2d<Planes> bn2;
  SameConv2d<Planes, 4 * Planes, 1> conv3;
  nn::BatchNorm2d<4 * Planes> bn3;
  Shortcut<In, 4 * Planes, Stride> downsample;
  MIXPREC_MODULE(conv1, bn1, conv2, bn2, conv3, bn3, downsample)

  constexpr auto operator()(auto const& x) const {
    auto const shortcut = downsample(x);
    return relu(bn3(conv3(relu(bn2(conv2(relu(bn1(conv1(x)))))))) + shortcut);
  }
};

/// Dilation of the blocks of a stage, the first one's apart.
struct StageDilation {
  int first = 1, others = 1;
  int grid[3]{};  // multi-grid as in mmsegmentation: where not 0, block i's dilation, whatever stands above

  constexpr int of(int block) const {
    if (grid[0] != 0) return grid[block % 3];
    return block == 0 ? first : others;
  }
};

namespace detail {
template <template <int, int, int, int> class Block, int In, int Planes, int Stride, StageDilation Dilation,
          class Indices>
struct StageOf;
template <template <int, int, int, int> class Block, int In, int Planes, int Stride, StageDilation Dilation, int... I>
struct StageOf<Block, In, Planes, Stride, Dilation, std::integer_sequence<int, I...>> {
  static constexpr int wide = Planes * Block<1, 1, 1, 1>::expansion;
  using type = nn::Sequential<Block<(I == 0 ? In : wide), Planes, (I == 0 ? Stride : 1), Dilation.of(I)>...>;
};
}  // namespace detail

/// `Blocks` blocks; the first one changes channels and resolution.
template <template <int, int, int, int> class Block, int In, int Planes, int Stride, int Blocks,
          StageDilation Dilation = StageDilation{}>
using Stage =
    typename detail::StageOf<Block, In, Planes, Stride, Dilation, std::make_integer_sequence<int, Blocks>>::type;

/// Settings of a ResNet.
struct ResNetOptions {
  int channels = 3;        // of the image
  int width = 64;          // of the stem and of the first stage
  bool deep_stem = false;  // V1c: three 3x3 convolutions in place of the 7x7
  int output_stride = 32;  // 8, 16 or 32; the strides left out become dilation
  int multi_grid[3]{};     // dilations of the last stage's blocks; all 0: from output_stride
};

namespace detail {

constexpr int blocks_of(int depth, int stage) {
  constexpr int blocks[5][4] = {{2, 2, 2, 2}, {3, 4, 6, 3}, {3, 4, 6, 3}, {3, 4, 23, 3}, {3, 8, 36, 3}};
  return blocks[depth == 18 ? 0 : depth == 34 ? 1 : depth == 50 ? 2 : depth == 101 ? 3 : 4][stage];
}
constexpr int stage_stride(ResNetOptions options, int stage) {
  return stage == 0 || 4 << stage > options.output_stride ? 1 : 2;
}
/// mmsegmentation's contract_dilation: the first block of a stage that trades its stride keeps the dilation before it.
constexpr StageDilation stage_dilation(ResNetOptions options, int stage) {
  int const dilation = (4 << stage) > options.output_stride ? (4 << stage) / options.output_stride : 1;
  StageDilation result{dilation > 1 ? dilation / 2 : 1, dilation};
  if (stage == 3)
    for (int at = 0; at < 3; ++at) result.grid[at] = options.multi_grid[at];
  return result;
}

template <int In, int Width>
struct DeepStem {
  using type = nn::Sequential<SameConv2d<In, Width / 2, 3, 2>, nn::BatchNorm2d<Width / 2>, nn::ReLU,
                              SameConv2d<Width / 2, Width / 2, 3>, nn::BatchNorm2d<Width / 2>, nn::ReLU,
                              SameConv2d<Width / 2, Width, 3>, nn::BatchNorm2d<Width>, nn::ReLU>;
};

template <int Depth>
struct BlockOf {
  template <int In, int Planes, int Stride, int Dilation>
  using type = std::conditional_t<(Depth < 50), BasicBlock<In, Planes, Stride, Dilation>,
                                  Bottleneck<In, Planes, Stride, Dilation>>;
};

}  // namespace detail

/// What the stages of a backbone give, at 1/4, 1/8 (or less), ... of the image's extents.
template <class C1, class C2, class C3, class C4>
struct Features {
  C1 c1;
  C2 c2;
  C3 c3;
  C4 c4;
};

/// ResNet-18, 34, 50, 101 or 152 without a classifier. Shapes: (N,channels,H,W) -> Features.
template <int Depth, ResNetOptions Options = ResNetOptions{}>
struct ResNetBackbone {
  static_assert(Depth == 18 || Depth == 34 || Depth == 50 || Depth == 101 || Depth == 152,
                "mixprec: ResNet: the depth is 18, 34, 50, 101 or 152. Choose one of these.");
  static_assert(Options.output_stride == 8 || Options.output_stride == 16 || Options.output_stride == 32,
                "mixprec: ResNet: the output stride is 8, 16 or 32. Choose one of these.");
  static_assert((Options.multi_grid[0] > 0) == (Options.multi_grid[1] > 0) &&
                    (Options.multi_grid[0] > 0) == (Options.multi_grid[2] > 0),
                "mixprec: ResNet: multi_grid has some dilations below 1. Give three of at least 1, or none.");
  static constexpr int width = Options.width, expansion = Depth < 50 ? 1 : 4;
  static constexpr int output_stride = Options.output_stride;
  /// Channels of stage 0 to 3.
  static constexpr int channels(int stage) { return (width << stage) * expansion; }

  template <int StageIndex>
  using StageAt = Stage<detail::BlockOf<Depth>::template type, (StageIndex == 0 ? width : channels(StageIndex - 1)),
                        (width << StageIndex), detail::stage_stride(Options, StageIndex),
                        detail::blocks_of(Depth, StageIndex), detail::stage_dilation(Options, StageIndex)>;

  // One of the two stems; the other one is empty and has no names.
  std::conditional_t<Options.deep_stem, typename detail::DeepStem<Options.channels, width>::type, nn::Identity> stem;
  std::conditional_t<Options.deep_stem, nn::Identity, SameConv2d<Options.channels, width, 7, 2>> conv1;
  std::conditional_t<Options.deep_stem, nn::Identity, nn::BatchNorm2d<width>> bn1;
  nn::MaxPool2d<3, 2, 1> maxpool;
  StageAt<0> layer1;
  StageAt<1> layer2;
  StageAt<2> layer3;
  StageAt<3> layer4;
  MIXPREC_MODULE(stem, conv1, bn1, maxpool, layer1, layer2, layer3, layer4)

  constexpr auto operator()(auto const& x) const {
    auto c1 = layer1(maxpool(stem_of(x)));
    auto c2 = layer2(c1);
    auto c3 = layer3(c2);
    auto c4 = layer4(c3);
    return Features<decltype(c1), decltype(c2), decltype(c3), decltype(c4)>{std::move(c1), std::move(c2), std::move(c3),
                                                                            std::move(c4)};
  }

 private:
  constexpr auto stem_of(auto const& x) const {
    if constexpr (Options.deep_stem) {
      return stem(x);
    } else {
      return relu(bn1(conv1(x)));
    }
  }
};

/// torchvision's classifier: the backbone, average pool and a linear layer. Shapes: (N,channels,H,W) -> (N,Classes).
template <int Depth, int Classes = 1000, ResNetOptions Options = ResNetOptions{}>
struct ResNet : ResNetBackbone<Depth, Options> {
  using Backbone = ResNetBackbone<Depth, Options>;
  nn::GlobalAvgPool2d avgpool;
  nn::Linear<Backbone::channels(3), Classes> fc;

  constexpr auto operator()(auto const& x) const { return fc(avgpool(Backbone::operator()(x).c4)); }
  template <class Self, class Visitor>
  static constexpr void members(Self& self, Visitor& visitor) {
    Backbone::members(self, visitor);
    visitor.child("avgpool", self.avgpool);
    visitor.child("fc", self.fc);
  }
};

}  // namespace mixprec::inline MIXPREC_ABI::models
