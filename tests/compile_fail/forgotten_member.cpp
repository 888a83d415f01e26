// SPDX-License-Identifier: Apache-2.0
// A module that MIXPREC_MODULE does not list has parameters without memory: the first error shows the shape of the one,
// the op that reads it, and where that op was called.
// expect-error: ParameterIsMissingInMIXPREC_MODULE<
// expect-error: ReadBy<'l', 'i', 'n', 'e', 'a', 'r'>
// expect-error: CalledOnResultOf<'b', 'l', 'o', 'c', 'k', '.', 'f', 'i', 'r', 's', 't'>
// expect-error: ParameterShape<3
#include <mixprec/plan/plan.hpp>

using namespace mixprec;

struct Block {
  nn::Linear<4, 4> first;
  nn::Linear<4, 3> second;
#ifdef MIXPREC_CONTROL
  MIXPREC_MODULE(first, second)
#else
  MIXPREC_MODULE(first)
#endif
  constexpr auto operator()(auto const& x) const { return second(first(x)); }
};
struct Net {
  Block block;
  MIXPREC_MODULE(block)
  constexpr auto operator()(auto const& x) const { return block(x); }
};
static_assert(plan<Net, Amp<float16>, Shape{2, 4}>.rows() > 0);
