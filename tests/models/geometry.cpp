// SPDX-License-Identifier: Apache-2.0
// Kernels, strides, dilations and paddings are mmsegmentation's: what no plan and no file of weights tells apart.
// Written down from its backbones/resnet.py, utils/res_layer.py (with contract_dilation, as its configs) and
// decode_heads/*aspp_head.py; without dilation they are torchvision's.
#include <algorithm>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include <mixprec/models/deeplabv3plus.hpp>

namespace mixprec::test {
namespace {

struct Window {
  int kernel, stride, dilation, padding;
};
std::string convolution_of(std::string const& path, Window of) {
  return path + ": kernel " + std::to_string(of.kernel) + ", stride " + std::to_string(of.stride) + ", dilation " +
         std::to_string(of.dilation) + ", padding " + std::to_string(of.padding);
}

/// Visits a module's convolutions in the order of its members.
struct Convolutions {
  std::string path;
  std::vector<std::string> found;

  template <int In, int Out, int Kernel, nn::Conv2dOptions Options>
  void child(char const* name, nn::Conv2d<In, Out, Kernel, Options> const&) {
    found.push_back(convolution_of(path + name, {Kernel, Options.stride, Options.dilation, Options.padding}));
  }
  template <class M>
  void child(char const* name, M const& module) {
    std::string const outer = path;
    path += std::string(name) + ".";
    M::members(module, *this);
    path = outer;
  }
  void parameter(char const*, auto const&, Initial const&) {}
  void buffer(char const*, Buffer const&) {}
};
template <class M>
std::vector<std::string> convolutions_of(M const& module) {
  Convolutions visitor;
  M::members(module, visitor);
  return visitor.found;
}

/// A ResNet's row in mmsegmentation's configs; its blocks are those of its depth.
struct Config {
  bool bottleneck, deep_stem;
  std::vector<int> blocks, strides, dilations, multi_grid;
};
std::vector<std::string> convolutions_of(Config const& config) {
  std::vector<std::string> expected;
  auto const add = [&](std::string const& path, Window of) { expected.push_back(convolution_of(path, of)); };
  if (config.deep_stem) {
    add("stem.0", {3, 2, 1, 1});
    add("stem.3", {3, 1, 1, 1});
    add("stem.6", {3, 1, 1, 1});
  } else {
    add("conv1", {7, 2, 1, 3});
  }
  for (std::size_t stage = 0; stage < 4; ++stage)
    for (int block = 0; block < config.blocks[stage]; ++block) {
      std::string const path = "layer" + std::to_string(stage + 1) + "." + std::to_string(block) + ".";
      int const stride = block == 0 ? config.strides[stage] : 1;
      int dilation = config.dilations[stage];
      if (block == 0 && dilation > 1) dilation /= 2;
      if (stage == 3 && !config.multi_grid.empty()) dilation = config.multi_grid[static_cast<std::size_t>(block)];
      Window const pointwise{1, 1, 1, 0}, strided{3, stride, dilation, dilation};
      add(path + "conv1", config.bottleneck ? pointwise : strided);
      add(path + "conv2", config.bottleneck ? strided : Window{3, 1, 1, 1});
      if (config.bottleneck) add(path + "conv3", pointwise);
      if (block == 0 && (config.bottleneck || stage > 0)) add(path + "downsample.0", {1, stride, 1, 0});
    }
  return expected;
}

void check_same(std::vector<std::string> const& own, std::vector<std::string> const& expected) {
  CHECK_EQ(own.size(), expected.size());
  for (std::size_t at = 0; at < std::min(own.size(), expected.size()); ++at) CHECK_EQ(own[at], expected[at]);
}

using Settings = models::ResNetOptions;
template <int Depth, Settings Options>
void check_backbone(Config const& config) {
  INFO("ResNet-" << Depth << ", output stride " << Options.output_stride);
  check_same(convolutions_of(models::ResNetBackbone<Depth, Options>{}), convolutions_of(config));
}

TEST_CASE("an output stride below 32 turns strides into dilation as mmsegmentation does") {
  std::vector<int> const of_18{2, 2, 2, 2}, of_50{3, 4, 6, 3};
  check_backbone<50, Settings{}>({true, false, of_50, {1, 2, 2, 2}, {1, 1, 1, 1}, {}});
  check_backbone<50, Settings{.output_stride = 16}>({true, false, of_50, {1, 2, 2, 1}, {1, 1, 1, 2}, {}});
  check_backbone<50, Settings{.deep_stem = true, .output_stride = 8}>(
      {true, true, of_50, {1, 2, 1, 1}, {1, 1, 2, 4}, {}});
  check_backbone<18, Settings{.output_stride = 8}>({false, false, of_18, {1, 2, 1, 1}, {1, 1, 2, 4}, {}});
}

TEST_CASE("multi-grid gives the dilations of the last stage's blocks, whatever the output stride") {
  std::vector<int> const of_50{3, 4, 6, 3};
  check_backbone<50, Settings{.deep_stem = true, .output_stride = 16, .multi_grid = {1, 2, 4}}>(
      {true, true, of_50, {1, 2, 2, 1}, {1, 1, 1, 2}, {1, 2, 4}});
  check_backbone<50, Settings{.output_stride = 8, .multi_grid = {1, 2, 4}}>(
      {true, false, of_50, {1, 2, 1, 1}, {1, 1, 2, 4}, {1, 2, 4}});
}

TEST_CASE("the branches of atrous pyramids have dilations of 1, 12, 24 and 36 at output stride 8") {
  Window const pointwise{1, 1, 1, 0}, plain{3, 1, 1, 1};
  std::vector<std::string> const head{convolution_of("image_pool.1.conv", pointwise),
                                      convolution_of("aspp_modules.0.conv", pointwise),
                                      convolution_of("aspp_modules.1.conv", {3, 1, 12, 12}),
                                      convolution_of("aspp_modules.2.conv", {3, 1, 24, 24}),
                                      convolution_of("aspp_modules.3.conv", {3, 1, 36, 36}),
                                      convolution_of("bottleneck.conv", plain),
                                      convolution_of("conv_seg", pointwise)};
  check_same(convolutions_of(models::AsppHead<16, 8, 5>{}), head);
  std::vector<std::string> const separable{convolution_of("image_pool.1.conv", pointwise),
                                           convolution_of("aspp_modules.0.conv", pointwise),
                                           convolution_of("aspp_modules.1.depthwise_conv.conv", {3, 1, 12, 12}),
                                           convolution_of("aspp_modules.1.pointwise_conv.conv", pointwise),
                                           convolution_of("aspp_modules.2.depthwise_conv.conv", {3, 1, 24, 24}),
                                           convolution_of("aspp_modules.2.pointwise_conv.conv", pointwise),
                                           convolution_of("aspp_modules.3.depthwise_conv.conv", {3, 1, 36, 36}),
                                           convolution_of("aspp_modules.3.pointwise_conv.conv", pointwise),
                                           convolution_of("bottleneck.conv", plain),
                                           convolution_of("c1_bottleneck.conv", pointwise),
                                           convolution_of("sep_bottleneck.0.depthwise_conv.conv", plain),
                                           convolution_of("sep_bottleneck.0.pointwise_conv.conv", pointwise),
                                           convolution_of("sep_bottleneck.1.depthwise_conv.conv", plain),
                                           convolution_of("sep_bottleneck.1.pointwise_conv.conv", pointwise),
                                           convolution_of("conv_seg", pointwise)};
  check_same(convolutions_of(models::SeparableAsppHead<4, 16, 8, 5>{}), separable);
}

TEST_CASE("DeepLabs on a backbone of output stride 16 have dilations of 6, 12 and 18") {
  using Backbone = models::ResNetBackbone<18, Settings{.width = 8, .output_stride = 16}>;
  auto const dilated = [](auto const& head) {
    std::string text;
    for (std::string const& convolution : convolutions_of(head))
      for (int const dilation : {6, 12, 18})
        if (convolution.find(convolution_of("", {3, 1, dilation, dilation})) != std::string::npos)
          text += std::to_string(dilation) + " ";
    return text;
  };
  CHECK(dilated(models::DeepLabV3<Backbone, 5, 16>{}.decode_head) == "6 12 18 ");
  CHECK(dilated(models::DeepLabV3Plus<Backbone, 5, 16>{}.decode_head) == "6 12 18 ");
}

}  // namespace
}  // namespace mixprec::test
