// SPDX-License-Identifier: Apache-2.0
// Models with recomputed blocks, for the tests of their numbers and of their plans.
#pragma once

#include "ops/harness.hpp"

namespace mixprec::test {
namespace {

/// A block with everything that a second run could change: running statistics and two dropout masks.
template <int C>
struct NoisyBlock {
  nn::Conv2d<C, C, 3, nn::Conv2dOptions{.padding = 1, .bias = false}> conv1;
  nn::BatchNorm2d<C> bn1;
  nn::Dropout<0.25> drop1;
  nn::Conv2d<C, C, 3, nn::Conv2dOptions{.padding = 1}> conv2;
  nn::BatchNorm2d<C> bn2;
  nn::Dropout<0.1> drop2;
  MIXPREC_MODULE(conv1, bn1, drop1, conv2, bn2, drop2)
  constexpr auto operator()(auto const& x) const {
    auto const y = drop1(relu(bn1(conv1(x))));
    return drop2(relu(bn2(conv2(y)) + x));
  }
};

template <class M>
struct Same : M {};

/// Blocks in a row, the second with a branch around it, the third nested; a dropout behind them, whose mask depends on
/// how often the blocks have drawn. `Wrap` is Recompute or nothing.
template <template <class> class Wrap>
struct BlockNet {
  nn::Conv2d<2, 8, 3, nn::Conv2dOptions{.padding = 1, .bias = false}> stem;
  Wrap<NoisyBlock<8>> first;
  nn::Sequential<Wrap<NoisyBlock<8>>, Wrap<nn::Sequential<Wrap<NoisyBlock<8>>, NoisyBlock<8>>>> rest;
  nn::GlobalAvgPool2d pool;
  nn::Dropout<0.5> drop;
  nn::Linear<8, 4> fc;
  MIXPREC_MODULE(stem, first, rest, pool, drop, fc)
  constexpr auto operator()(auto const& x) const {
    auto const a = stem(x);
    auto const b = first(a);
    return fc(drop(pool(rest(b + a))));
  }
};
constexpr Shape recompute_input{6, 2, 8, 8};

/// Two blocks whose kept bytes are known by hand: under fp32 each keeps its input.
using TwoBlocks =
    nn::Sequential<nn::Recompute<NoisyBlock<2>>, nn::Recompute<NoisyBlock<2>>, nn::GlobalAvgPool2d, nn::Linear<2, 4>>;

}  // namespace
}  // namespace mixprec::test
