// SPDX-License-Identifier: Apache-2.0
// Layers that do not fit in Sequential: the first error names the layer and both channel counts, without a plan.
// expect-error: ChannelsDoNotFit<
// expect-error: Linear<9, 3
// expect-error: Expects<9>
// expect-error: Receives<8>
#include <mixprec/nn/containers.hpp>

using namespace mixprec;

#ifdef MIXPREC_CONTROL
using Net = nn::Sequential<nn::Linear<4, 8>, nn::ReLU, nn::Linear<8, 3>>;
#else
using Net = nn::Sequential<nn::Linear<4, 8>, nn::ReLU, nn::Linear<9, 3>>;
#endif

using X = Value<Meta, float, 2, dynamic_channels, Fp32>;
using Y = decltype(Net{}(std::declval<X const&>()));
