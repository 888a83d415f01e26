// SPDX-License-Identifier: Apache-2.0
// What semantic segmentation models share: convolution blocks, the classifier of a head, a backbone with heads, and the
// training loss. Definitions and parameter names are mmsegmentation's.
#pragma once

#include <type_traits>
#include <utility>

#include <mixprec/models/resnet.hpp>
#include <mixprec/nn/branches.hpp>
#include <mixprec/ops/resize_cross_entropy.hpp>

namespace mixprec::inline MIXPREC_ABI::models {

/// relu(bn(conv(x))). mmcv's ConvModule.
template <int In, int Out, int Kernel, int Dilation = 1, int Groups = 1>
struct ConvModule {
  SameConv2d<In, Out, Kernel, 1, Dilation, Groups> conv;
  nn::BatchNorm2d<Out> bn;
  MIXPREC_MODULE(conv, bn)

  constexpr auto operator()(auto const& x) const { return relu(bn(conv(x))); }
  /// The result before its batch norm has run, for concat.
  constexpr auto pending(auto const& x) const { return relu_later(bn(conv(x))); }
};

/// A 3x3 convolution of each channel alone, then one of 1x1 across them. mmcv's DepthwiseSeparableConvModule.
template <int In, int Out, int Dilation = 1>
struct DepthwiseSeparableConvModule {
  ConvModule<In, In, 3, Dilation, In> depthwise_conv;
  ConvModule<In, Out, 1> pointwise_conv;
  MIXPREC_MODULE(depthwise_conv, pointwise_conv)

  constexpr auto operator()(auto const& x) const { return pointwise_conv(depthwise_conv(x)); }
  constexpr auto pending(auto const& x) const { return pointwise_conv.pending(depthwise_conv(x)); }
};

/// x resized bilinearly to the extents of `like`.
constexpr auto resize_like(any_value auto const& x, any_value auto const& like) {
  return resize(x, ResizeSize{like.shape()[2], like.shape()[3]});
}

/// Low-resolution logits of the two heads that train together.
template <class Logits, class Auxiliary>
struct TrainingLogits {
  Logits logits;
  Auxiliary auxiliary;

  /// Both changed: what the policy's casts at the model's border need.
  template <class Change>
  constexpr auto map(Change const& change) const {
    auto first = change(logits);
    auto second = change(auxiliary);
    return TrainingLogits<decltype(first), decltype(second)>{std::move(first), std::move(second)};
  }
};

/// A backbone, a decode head, and in training an auxiliary head on the third stage.
/// Shapes: (N,3,H,W) -> logits (N,Classes,H/stride,W/stride), with the auxiliary head's beside them as TrainingLogits.
template <class Backbone, class Head, class AuxiliaryHead>
struct EncoderDecoder {
  Backbone backbone;
  Head decode_head;
  AuxiliaryHead auxiliary_head;
  MIXPREC_MODULE(backbone, decode_head, auxiliary_head)

  constexpr auto operator()(auto const& x) const {
    auto const features = backbone(x);
    auto logits = decode_head(features);
    if constexpr (inference_policy<typename std::remove_cvref_t<decltype(x)>::policy>) {
      return logits;
    } else {
      auto auxiliary = auxiliary_head(features.c3);
      return TrainingLogits<decltype(logits), decltype(auxiliary)>{std::move(logits), std::move(auxiliary)};
    }
  }
};

/// Of training, and of a plan. cross_entropy(logits) + 0.4 cross_entropy(auxiliary) at the labels' resolution, which is
/// the images'; pixels with label 255 do not count. Shapes: images (N,3,H,W), labels (N,H,W) -> (). Errors: labels of
/// another height or width, with both values.
struct SegmentationLoss {
  static constexpr std::int32_t ignore_index = 255;
  static constexpr double auxiliary_weight = 0.4;

  constexpr auto operator()(auto& net, auto const& image, auto const& label) const {
    auto const out = net(image);
    require_extent(out.logits, "height of the labels", image.shape()[2], label.shape()[1]);
    require_extent(out.logits, "width of the labels", image.shape()[3], label.shape()[2]);
    auto const main = of(out.logits, label);
    return main + auxiliary_weight * of(out.auxiliary, label);
  }
  constexpr auto operator()(auto const& net, auto const& image) const {
    return (*this)(net, image,
                   Tensor<Meta, std::int32_t, 3>(Shape{image.shape()[0], image.shape()[2], image.shape()[3]}));
  }
  static constexpr std::int64_t input_bytes(Shape<4> image) { return 4 * image[0] * image[2] * image[3]; }

 private:
  static constexpr void require_extent(auto const& logits, char const* what, std::int64_t images, std::int64_t labels) {
    if (images != labels)
      logits.session().mismatch(logits.place(), "cross_entropy",
                                {what, images, labels, "Give labels of the images' height and width."});
  }
  constexpr auto of(auto const& logits, auto const& label) const {
    ResizeSize const size{label.shape()[1], label.shape()[2]};
    return cross_entropy(resize(logits, size), label, {.ignore_index = ignore_index});
  }
};

}  // namespace mixprec::inline MIXPREC_ABI::models
