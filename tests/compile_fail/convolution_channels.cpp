// SPDX-License-Identifier: Apache-2.0
// A batch norm behind a convolution of another width: the channels go through the convolution's type.
// expect-error: ChannelsDoNotFit<
// expect-error: BatchNorm<16>
// expect-error: Expects<16>
// expect-error: Receives<8>
#include <mixprec/nn/containers.hpp>

using namespace mixprec;

#ifdef MIXPREC_CONTROL
using Net = nn::Sequential<nn::Conv2d<1, 16, 3>, nn::BatchNorm2d<16>>;
#else
using Net = nn::Sequential<nn::Conv2d<1, 8, 3>, nn::BatchNorm2d<16>>;
#endif

using X = Value<Meta, float, 4, dynamic_channels, Fp32>;
using Y = decltype(Net{}(std::declval<X const&>()));
