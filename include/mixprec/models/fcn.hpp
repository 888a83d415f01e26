// SPDX-License-Identifier: Apache-2.0
// FCN: 3x3 convolutions on the last stage. Source: Long et al. 2015 (arXiv:1411.4038), as in mmsegmentation's FCNHead.
#pragma once

#include <mixprec/models/segmentation.hpp>

namespace mixprec::inline MIXPREC_ABI::models {

/// `Convolutions` of 3x3, and with `ConcatInput` one more on their result beside the input, then the classifier.
/// Shapes: (N,In,H,W), or Features of which c4 is taken -> (N,Classes,H,W). mmsegmentation's FCNHead.
template <int In, int Channels, int Classes, int Convolutions = 2, bool ConcatInput = true>
struct FcnHead {
  static_assert(Convolutions == 1 || Convolutions == 2,
                "mixprec: FcnHead has 1 or 2 convolutions. Choose one of these.");

  std::conditional_t<Convolutions == 1, nn::Sequential<ConvModule<In, Channels, 3>>,
                     nn::Sequential<ConvModule<In, Channels, 3>, ConvModule<Channels, Channels, 3>>>
      convs;
  std::conditional_t<ConcatInput, ConvModule<In + Channels, Channels, 3>, nn::Identity> conv_cat;
  nn::Dropout2d<0.1> dropout;
  nn::Conv2d<Channels, Classes, 1> conv_seg;
  MIXPREC_MODULE(convs, conv_cat, dropout, conv_seg)

  constexpr auto operator()(any_value auto const& x) const {
    if constexpr (ConcatInput) {
      return conv_seg(dropout(conv_cat(concat(x, convs.pending(x)))));
    } else {
      return conv_seg(dropout(convs(x)));
    }
  }
  template <class... Stage>
  constexpr auto operator()(Features<Stage...> const& features) const {
    return (*this)(features.c4);
  }
};

/// The auxiliary head of all four models: one 3x3 convolution on the third stage.
template <int In, int Channels, int Classes>
using AuxiliaryHead = FcnHead<In, Channels, Classes, 1, false>;

/// FCN on a ResNet. `Width` is the decode head's (512 in mmsegmentation); the auxiliary head has half of it.
template <class Backbone, int Classes, int Width = 512>
using Fcn = EncoderDecoder<Backbone, FcnHead<Backbone::channels(3), Width, Classes>,
                           AuxiliaryHead<Backbone::channels(2), Width / 2, Classes>>;

}  // namespace mixprec::inline MIXPREC_ABI::models
