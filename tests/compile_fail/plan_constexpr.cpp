// SPDX-License-Identifier: Apache-2.0
// A user's module without constexpr: the compiler cannot run it, and the first error says what to write.
// expect-error: mixprec: plan: the compiler cannot run this model's forward pass. Write 'constexpr auto operator()
#include <mixprec/plan/plan.hpp>

using namespace mixprec;

struct Block {
  nn::Linear<8, 8> first, second;
  MIXPREC_MODULE(first, second)
#ifdef MIXPREC_CONTROL
  constexpr auto operator()(auto const& x) const { return relu(second(relu(first(x))) + x); }
#else
  auto operator()(auto const& x) const { return relu(second(relu(first(x))) + x); }
#endif
};

using Net = nn::Sequential<Block, nn::Linear<8, 2>>;
static_assert(plan<Net, Fp32, Shape{4, 8}>.rows() > 0);
