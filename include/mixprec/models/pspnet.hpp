// SPDX-License-Identifier: Apache-2.0
// PSPNet: pyramid pooling. Source: Zhao et al. 2017 (arXiv:1612.01105), as in mmsegmentation's PSPHead.
#pragma once

#include <mixprec/models/fcn.hpp>
#include <mixprec/ops/pyramid_pool.hpp>

namespace mixprec::inline MIXPREC_ABI::models {

/// The mean over a grid of Grid x Grid bins, a 1x1 convolution, and back to the input's extents.
template <int Grid, int In, int Channels>
struct PoolingBranch : nn::Sequential<nn::AdaptiveAvgPool2d<Grid>, ConvModule<In, Channels, 1>> {
  using Modules = nn::Sequential<nn::AdaptiveAvgPool2d<Grid>, ConvModule<In, Channels, 1>>;

  constexpr auto operator()(any_value auto const& x) const { return pending(x).value(); }
  /// The result before it is resized, for concat.
  constexpr auto pending(any_value auto const& x) const { return resize_like(Modules::operator()(x), x); }
  /// The same where the means have been taken.
  constexpr auto pending_from(any_value auto const& means, any_value auto const& x) const {
    auto const& module = nn::child<1>(*this);
    return resize_like(module(means.at(Place{module.module_id, true, false})), x);
  }
};

/// The last stage beside its means over grids of 1, 2, 3 and 6, which are pooled in one pass, a 3x3 convolution, then
/// the classifier. Shapes: Features -> (N,Classes,H,W) of c4. mmsegmentation's PSPHead.
template <int In, int Channels, int Classes>
struct PspHead {
  using Grids = Pyramid<1, 2, 3, 6>;
  nn::Sequential<PoolingBranch<1, In, Channels>, PoolingBranch<2, In, Channels>, PoolingBranch<3, In, Channels>,
                 PoolingBranch<6, In, Channels>>
      psp_modules;
  ConvModule<In + 4 * Channels, Channels, 3> bottleneck;
  nn::Dropout2d<0.1> dropout;
  nn::Conv2d<Channels, Classes, 1> conv_seg;
  MIXPREC_MODULE(psp_modules, bottleneck, dropout, conv_seg)

  template <class... Stage>
  constexpr auto operator()(Features<Stage...> const& features) const {
    auto const pooled = Grids::pool(features.c4);
    auto first = level<0>(pooled, features.c4);
    auto second = level<1>(pooled, features.c4);
    auto third = level<2>(pooled, features.c4);
    auto fourth = level<3>(pooled, features.c4);
    return conv_seg(dropout(
        bottleneck(concat(features.c4, std::move(first), std::move(second), std::move(third), std::move(fourth)))));
  }

 private:
  template <int I>
  constexpr auto level(any_value auto const& pooled, any_value auto const& x) const {
    auto const& branch = nn::child<I>(psp_modules);
    return branch.pending_from(Grids::template level<I>(pooled).at(Place{branch.module_id, true, false}), x);
  }
};

/// PSPNet on a ResNet; `Width` as in Fcn.
template <class Backbone, int Classes, int Width = 512>
using PspNet = EncoderDecoder<Backbone, PspHead<Backbone::channels(3), Width, Classes>,
                              AuxiliaryHead<Backbone::channels(2), Width / 2, Classes>>;

}  // namespace mixprec::inline MIXPREC_ABI::models
