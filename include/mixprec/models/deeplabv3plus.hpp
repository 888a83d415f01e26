// SPDX-License-Identifier: Apache-2.0
// DeepLabV3+: depthwise separable ASPP with a decoder. Source: Chen et al. 2018 (arXiv:1802.02611), as in
// mmsegmentation's DepthwiseSeparableASPPHead.
#pragma once

#include <mixprec/models/deeplabv3.hpp>

namespace mixprec::inline MIXPREC_ABI::models {

/// Separable ASPP on the last stage, brought to the first stage's resolution beside it, two separable 3x3 convolutions,
/// then the classifier. Shapes: Features -> (N,Classes,H,W) of c1. mmsegmentation's DepthwiseSeparableASPPHead.
template <int LowIn, int In, int Channels, int Classes, int LowChannels = 48, int Rate = 12>
struct SeparableAsppHead : Aspp<In, Channels, Rate, DepthwiseSeparableConvModule> {
  using Pyramid = Aspp<In, Channels, Rate, DepthwiseSeparableConvModule>;
  ConvModule<LowIn, LowChannels, 1> c1_bottleneck;
  nn::Sequential<DepthwiseSeparableConvModule<Channels + LowChannels, Channels>,
                 DepthwiseSeparableConvModule<Channels, Channels>>
      sep_bottleneck;
  nn::Dropout2d<0.1> dropout;
  nn::Conv2d<Channels, Classes, 1> conv_seg;
  int module_id = -1;

  template <class... Stage>
  constexpr auto operator()(Features<Stage...> const& features) const {
    auto const deep = Pyramid::operator()(features.c4);
    auto low = c1_bottleneck.pending(features.c1);
    auto resized = resize_like(deep, low);
    return conv_seg(dropout(sep_bottleneck(concat(std::move(resized), std::move(low)))));
  }
  template <class Self, class Visitor>
  static constexpr void members(Self& self, Visitor& visitor) {
    Pyramid::members(self, visitor);
    visitor.child("c1_bottleneck", self.c1_bottleneck);
    visitor.child("sep_bottleneck", self.sep_bottleneck);
    visitor.child("dropout", self.dropout);
    visitor.child("conv_seg", self.conv_seg);
  }
};

/// DeepLabV3+ on a ResNet; `Width` as in Fcn; the decoder takes 48 channels of the first stage.
template <class Backbone, int Classes, int Width = 512>
using DeepLabV3Plus = EncoderDecoder<
    Backbone, SeparableAsppHead<Backbone::channels(0), Backbone::channels(3), Width, Classes, 48, aspp_rate<Backbone>>,
    AuxiliaryHead<Backbone::channels(2), Width / 2, Classes>>;

}  // namespace mixprec::inline MIXPREC_ABI::models
