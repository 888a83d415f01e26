// SPDX-License-Identifier: Apache-2.0
// A misspelt name in MIXPREC_MODULE: the first error is the compiler's own, and names it.
// expect-error: no member
// expect-error: secnd
#include <mixprec/plan/plan.hpp>

using namespace mixprec;

struct Net {
  nn::Linear<4, 4> first;
  nn::Linear<4, 3> second;
#ifdef MIXPREC_CONTROL
  MIXPREC_MODULE(first, second)
#else
  MIXPREC_MODULE(first, secnd)
#endif
  constexpr auto operator()(auto const& x) const { return second(first(x)); }
};
static_assert(plan<Net, Fp32, Shape{2, 4}>.rows() == 3);
