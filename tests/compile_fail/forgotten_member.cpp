// SPDX-License-Identifier: Apache-2.0
// A module that MIXPREC_MODULE does not list has no parameters in the model. The next error names the function
// list_every_module_and_parameter_in_MIXPREC_MODULE.
// expect-error: the next error names the function
#include <mixprec/plan/plan.hpp>

using namespace mixprec;

struct Net {
  nn::Linear<4, 4> first;
  nn::Linear<4, 3> second;
#ifdef MIXPREC_CONTROL
  MIXPREC_MODULE(first, second)
#else
  MIXPREC_MODULE(first)
#endif
  constexpr auto operator()(auto const& x) const { return second(first(x)); }
};
static_assert(plan<Net, Amp<float16>, Shape{2, 4}>.rows() > 0);
