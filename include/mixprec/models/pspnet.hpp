// SPDX-License-Identifier: Apache-2.0
// PSPNet: pyramid pooling. Source: Zhao et al. 2017 (arXiv:1612.01105), as in mmsegmentation's PSPHead.
#pragma once

#include <mixprec/models/fcn.hpp>

namespace mixprec::inline MIXPREC_ABI::models {

/// The mean over a grid of Grid x Grid bins, a 1x1 convolution, and back to the input's extents.
template <int Grid, int In, int Channels>
struct PoolingBranch : nn::Sequential<nn::AdaptiveAvgPool2d<Grid>, ConvModule<In, Channels, 1>> {
  using Modules = nn::Sequential<nn::AdaptiveAvgPool2d<Grid>, ConvModule<In, Channels, 1>>;

  constexpr auto operator()(any_value auto const& x) const { return resize_like(Modules::operator()(x), x); }
};

/// The last stage beside its means over grids of 1, 2, 3 and 6, a 3x3 convolution, then the classifier.
/// Shapes: Features -> (N,Classes,H,W) of c4. mmsegmentation's PSPHead.
template <int In, int Channels, int Classes>
struct PspHead {
  nn::Sequential<PoolingBranch<1, In, Channels>, PoolingBranch<2, In, Channels>, PoolingBranch<3, In, Channels>,
                 PoolingBranch<6, In, Channels>>
      psp_modules;
  ConvModule<In + 4 * Channels, Channels, 3> bottleneck;
  nn::Dropout2d<100> dropout;
  nn::Conv2d<Channels, Classes, 1> conv_seg;
  MIXPREC_MODULE(psp_modules, bottleneck, dropout, conv_seg)

  template <class... Stage>
  constexpr auto operator()(Features<Stage...> const& features) const {
    auto const pyramid = nn::join_branches(psp_modules, features.c4,
                                           [&](auto const&... pooled) { return concat(features.c4, pooled...); });
    return conv_seg(dropout(bottleneck(pyramid)));
  }
};

/// PSPNet on a ResNet; `Width` as in Fcn.
template <class Backbone, int Classes, int Width = 512>
using PspNet = EncoderDecoder<Backbone, PspHead<Backbone::channels(3), Width, Classes>,
                              AuxiliaryHead<Backbone::channels(2), Width / 2, Classes>>;

}  // namespace mixprec::inline MIXPREC_ABI::models
