// SPDX-License-Identifier: Apache-2.0
// Parameters, buffers and their shapes are those of the files that the originals publish: torchvision's ResNets, and
// mmsegmentation's four models on ResNetV1c-50 with 150 classes. Written down from their definitions (torchvision's
// models/resnet.py; mmsegmentation's backbones/resnet.py, decode_heads/*.py and configs/_base_/models/*_r50-d8.py;
// mmcv's ConvModule), not from ours. Their num_batches_tracked is left out: we have none, and loading passes it over
// (backbone_weights.cpp).
#include <algorithm>
#include <cstdint>
#include <iterator>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include <mixprec/models/deeplabv3plus.hpp>
#include <nn/collect.hpp>

namespace mixprec::test {
namespace {

using Extents = std::vector<std::int64_t>;

std::string entry_of(std::string const& name, Extents const& shape) {
  std::string text = name + " [";
  for (std::size_t axis = 0; axis < shape.size(); ++axis) text += (axis > 0 ? ", " : "") + std::to_string(shape[axis]);
  return text + "]";
}

/// A state_dict as PyTorch's modules make it.
struct OriginalState {
  std::vector<std::string> entries;
  std::int64_t parameters = 0;  // elements of them, which the originals publish; buffers do not count

  void parameter(std::string const& name, Extents const& shape) {
    entries.push_back(entry_of(name, shape));
    std::int64_t size = 1;
    for (std::int64_t const extent : shape) size *= extent;
    parameters += size;
  }
  void conv(std::string const& name, int out, int in, int kernel) {
    parameter(name + ".weight", {out, in, kernel, kernel});
  }
  void norm(std::string const& name, int channels) {
    parameter(name + ".weight", {channels});
    parameter(name + ".bias", {channels});
    entries.push_back(entry_of(name + ".running_mean", {channels}));
    entries.push_back(entry_of(name + ".running_var", {channels}));
  }
  /// What the ResNets of 18 and 34 layers have behind their stems.
  void basic_stages(std::string const& prefix, std::vector<int> const& blocks) {
    int in = 64, planes = 64;
    for (int layer = 1; layer <= 4; ++layer, planes *= 2)
      for (int block = 0; block < blocks[static_cast<std::size_t>(layer - 1)]; ++block, in = planes) {
        std::string const path = prefix + "layer" + std::to_string(layer) + "." + std::to_string(block) + ".";
        conv(path + "conv1", planes, in, 3);
        norm(path + "bn1", planes);
        conv(path + "conv2", planes, planes, 3);
        norm(path + "bn2", planes);
        if (in == planes) continue;
        conv(path + "downsample.0", planes, in, 1);
        norm(path + "downsample.1", planes);
      }
  }
  /// What those of 50 and more have.
  void bottleneck_stages(std::string const& prefix, std::vector<int> const& blocks) {
    int in = 64, planes = 64;
    for (int layer = 1; layer <= 4; ++layer, planes *= 2)
      for (int block = 0; block < blocks[static_cast<std::size_t>(layer - 1)]; ++block, in = 4 * planes) {
        std::string const path = prefix + "layer" + std::to_string(layer) + "." + std::to_string(block) + ".";
        conv(path + "conv1", planes, in, 1);
        norm(path + "bn1", planes);
        conv(path + "conv2", planes, planes, 3);
        norm(path + "bn2", planes);
        conv(path + "conv3", 4 * planes, planes, 1);
        norm(path + "bn3", 4 * planes);
        if (block > 0) continue;
        conv(path + "downsample.0", 4 * planes, in, 1);
        norm(path + "downsample.1", 4 * planes);
      }
  }

  void conv_module(std::string const& name, int out, int in, int kernel) {
    conv(name + ".conv", out, in, kernel);
    norm(name + ".bn", out);
  }
  void separable_module(std::string const& name, int out, int in) {
    conv(name + ".depthwise_conv.conv", in, 1, 3);
    norm(name + ".depthwise_conv.bn", in);
    conv_module(name + ".pointwise_conv", out, in, 1);
  }
  void classifier(std::string const& name, int in) {
    conv(name, 150, in, 1);
    parameter(name + ".bias", {150});
  }
  /// All that mmsegmentation's four models have but what their decode heads have before the classifier.
  void segmenter() {
    conv("backbone.stem.0", 32, 3, 3);
    norm("backbone.stem.1", 32);
    conv("backbone.stem.3", 32, 32, 3);
    norm("backbone.stem.4", 32);
    conv("backbone.stem.6", 64, 32, 3);
    norm("backbone.stem.7", 64);
    bottleneck_stages("backbone.", {3, 4, 6, 3});
    classifier("decode_head.conv_seg", 512);
    conv_module("auxiliary_head.convs.0", 256, 1024, 3);
    classifier("auxiliary_head.conv_seg", 256);
  }
};

/// What `all` has and `others` has not; both sorted.
std::string only_in(std::vector<std::string> const& all, std::vector<std::string> const& others) {
  std::vector<std::string> rest;
  std::set_difference(all.begin(), all.end(), others.begin(), others.end(), std::back_inserter(rest));
  std::string text;
  for (std::string const& entry : rest) text += entry + "; ";
  return text;
}

template <class Net>
void check_original(OriginalState original) {
  auto const collected = mixprec_test::collect<Net>();
  std::vector<std::string> own;
  for (std::size_t at = 0; at < collected.state.size(); ++at)
    own.push_back(entry_of(collected.state[at], collected.shapes[at]));
  std::sort(own.begin(), own.end());
  std::sort(original.entries.begin(), original.entries.end());
  CHECK_EQ(only_in(original.entries, own), "");
  CHECK_EQ(only_in(own, original.entries), "");
}

using V1c50 = models::ResNetBackbone<50, models::ResNetOptions{.deep_stem = true, .output_stride = 8}>;

/// `published`: num_params of the depth's weights in torchvision.
template <int Depth>
void check_torchvision(std::vector<int> const& blocks, std::int64_t published) {
  OriginalState original;
  original.conv("conv1", 64, 3, 7);
  original.norm("bn1", 64);
  Depth < 50 ? original.basic_stages("", blocks) : original.bottleneck_stages("", blocks);
  original.parameter("fc.weight", {1000, Depth < 50 ? 512 : 2048});
  original.parameter("fc.bias", {1000});
  CHECK(original.parameters == published);
  check_original<models::ResNet<Depth>>(original);
}

TEST_CASE("ResNets have the names and the shapes of torchvision's") {
  check_torchvision<18>({2, 2, 2, 2}, 11689512);
  check_torchvision<34>({3, 4, 6, 3}, 21797672);
  check_torchvision<50>({3, 4, 6, 3}, 25557032);
  check_torchvision<101>({3, 4, 23, 3}, 44549160);
  check_torchvision<152>({3, 8, 36, 3}, 60192808);
}

TEST_CASE("FCN has the names and the shapes of mmsegmentation's") {
  OriginalState original;
  original.segmenter();
  original.conv_module("decode_head.convs.0", 512, 2048, 3);
  original.conv_module("decode_head.convs.1", 512, 512, 3);
  original.conv_module("decode_head.conv_cat", 512, 2048 + 512, 3);
  check_original<models::Fcn<V1c50, 150>>(original);
}

TEST_CASE("PSPNet has the names and the shapes of mmsegmentation's") {
  OriginalState original;
  original.segmenter();
  original.conv_module("decode_head.psp_modules.0.1", 512, 2048, 1);
  original.conv_module("decode_head.psp_modules.1.1", 512, 2048, 1);
  original.conv_module("decode_head.psp_modules.2.1", 512, 2048, 1);
  original.conv_module("decode_head.psp_modules.3.1", 512, 2048, 1);
  original.conv_module("decode_head.bottleneck", 512, 2048 + 4 * 512, 3);
  check_original<models::PspNet<V1c50, 150>>(original);
}

TEST_CASE("DeepLabV3 has the names and the shapes of mmsegmentation's") {
  OriginalState original;
  original.segmenter();
  original.conv_module("decode_head.image_pool.1", 512, 2048, 1);
  original.conv_module("decode_head.aspp_modules.0", 512, 2048, 1);
  original.conv_module("decode_head.aspp_modules.1", 512, 2048, 3);
  original.conv_module("decode_head.aspp_modules.2", 512, 2048, 3);
  original.conv_module("decode_head.aspp_modules.3", 512, 2048, 3);
  original.conv_module("decode_head.bottleneck", 512, 5 * 512, 3);
  check_original<models::DeepLabV3<V1c50, 150>>(original);
}

TEST_CASE("DeepLabV3+ has the names and the shapes of mmsegmentation's") {
  OriginalState original;
  original.segmenter();
  original.conv_module("decode_head.image_pool.1", 512, 2048, 1);
  original.conv_module("decode_head.aspp_modules.0", 512, 2048, 1);
  original.separable_module("decode_head.aspp_modules.1", 512, 2048);
  original.separable_module("decode_head.aspp_modules.2", 512, 2048);
  original.separable_module("decode_head.aspp_modules.3", 512, 2048);
  original.conv_module("decode_head.bottleneck", 512, 5 * 512, 3);
  original.conv_module("decode_head.c1_bottleneck", 48, 256, 1);
  original.separable_module("decode_head.sep_bottleneck.0", 512, 512 + 48);
  original.separable_module("decode_head.sep_bottleneck.1", 512, 512);
  check_original<models::DeepLabV3Plus<V1c50, 150>>(original);
}

}  // namespace
}  // namespace mixprec::test
