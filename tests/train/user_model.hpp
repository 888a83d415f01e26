// SPDX-License-Identifier: Apache-2.0
// The users' structs of the plan tests: a float region, a module used twice, a branch; weights read in two dtypes.
#pragma once

#include "plan_cases.hpp"

namespace mixprec::test {

struct UserNet {
  nn::Conv2d<3, 8, 3, nn::Conv2dOptions{.padding = 1, .bias = false}> stem;
  nn::BatchNorm2d<8> bn;
  nn::Conv2d<8, 8, 3, nn::Conv2dOptions{.padding = 1}> twice;
  nn::GlobalAvgPool2d pool;
  nn::Linear<8, 8> gate;
  nn::Linear<8, 4> head;
  MIXPREC_MODULE(stem, bn, twice, pool, gate, head)

  constexpr auto operator()(auto const& x) const {
    auto const a = relu(bn(stem(x)));
    auto const b = relu(twice(relu(twice(a))) + a);
    auto const features = pool(b);
    auto const weights = auto_fp16(softmax(gate(force_fp32(features))));
    return head(features * weights);
  }
};
inline constexpr Shape user_input{6, 3, 8, 8};

// Under policies whose masters are half, a float copy stands beside them.
struct ReadTwice {
  nn::Linear<64, 64> fc;
  MIXPREC_MODULE(fc)

  constexpr auto operator()(auto const& x) const {
    auto const low = fc(x);
    return low + fc(force_fp32(x));
  }
};
inline constexpr Shape read_twice_input{6, 64};
static_assert(plan<ReadTwice, ApexO3, read_twice_input>.memory.working_copies ==
              detail::rounded_bytes(4 * (64 * 64 + 64)));

// Its weight's gradient is the largest thing that backward makes: where it is added to another, it is at the peak.
using OneLayer = nn::Sequential<nn::Linear<64, 64>>;

}  // namespace mixprec::test
