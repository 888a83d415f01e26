// SPDX-License-Identifier: Apache-2.0
// DeepLabV3: atrous spatial pyramid pooling. Source: Chen et al. 2017 (arXiv:1706.05587), as in mmsegmentation's
// ASPPHead.
#pragma once

#include <mixprec/models/pspnet.hpp>

namespace mixprec::inline MIXPREC_ABI::models {

/// The global mean, a 1x1 convolution and three dilated 3x3 ones beside each other, joined by a 3x3 convolution.
/// `Dilated<In, Channels, Dilation>` is the kind of the dilated ones, of dilation `Rate`, 2 `Rate` and 3 `Rate`.
/// Shapes: (N,In,H,W) -> (N,Channels,H,W).
template <int In, int Channels, int Rate, template <int, int, int> class Dilated>
struct Aspp {
  PoolingBranch<1, In, Channels> image_pool;
  nn::Sequential<ConvModule<In, Channels, 1>, Dilated<In, Channels, Rate>, Dilated<In, Channels, 2 * Rate>,
                 Dilated<In, Channels, 3 * Rate>>
      aspp_modules;
  ConvModule<5 * Channels, Channels, 3> bottleneck;

  constexpr auto operator()(any_value auto const& x) const {
    auto pooled = image_pool.pending(x);
    return bottleneck(nn::join_branches(
        aspp_modules, x, [&](auto&&... branch) { return concat(std::move(pooled), std::move(branch)...); }));
  }
  template <class Self, class Visitor>
  static constexpr void members(Self& self, Visitor& visitor) {
    visitor.child("image_pool", self.image_pool);
    visitor.child("aspp_modules", self.aspp_modules);
    visitor.child("bottleneck", self.bottleneck);
  }
};

namespace detail {
template <int In, int Out, int Dilation>
using DilatedConvModule = ConvModule<In, Out, 3, Dilation>;
}

/// ASPP on the last stage, then the classifier. Shapes: Features -> (N,Classes,H,W) of c4. mmsegmentation's ASPPHead.
template <int In, int Channels, int Classes, int Rate = 12>
struct AsppHead : Aspp<In, Channels, Rate, detail::DilatedConvModule> {
  using Pyramid = Aspp<In, Channels, Rate, detail::DilatedConvModule>;
  nn::Dropout2d<0.1> dropout;
  nn::Conv2d<Channels, Classes, 1> conv_seg;
  int module_id = -1;

  template <class... Stage>
  constexpr auto operator()(Features<Stage...> const& features) const {
    return conv_seg(dropout(Pyramid::operator()(features.c4)));
  }
  template <class Self, class Visitor>
  static constexpr void members(Self& self, Visitor& visitor) {
    Pyramid::members(self, visitor);
    visitor.child("dropout", self.dropout);
    visitor.child("conv_seg", self.conv_seg);
  }
};

/// The least dilation of ASPP: 12 at output stride 8 and 6 at 16, as mmsegmentation has them, and 3 at 32: the pyramid
/// sees the same part of the image at each. A backbone of the user's own says its `output_stride`, or gets 12.
template <class Backbone>
inline constexpr int aspp_rate = [] {
  if constexpr (requires { Backbone::output_stride; }) {
    return 96 / Backbone::output_stride;
  } else {
    return 12;
  }
}();

/// DeepLabV3 on a ResNet; `Width` as in Fcn.
template <class Backbone, int Classes, int Width = 512>
using DeepLabV3 = EncoderDecoder<Backbone, AsppHead<Backbone::channels(3), Width, Classes, aspp_rate<Backbone>>,
                                 AuxiliaryHead<Backbone::channels(2), Width / 2, Classes>>;

}  // namespace mixprec::inline MIXPREC_ABI::models
