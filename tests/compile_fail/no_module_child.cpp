// SPDX-License-Identifier: Apache-2.0
// A struct without MIXPREC_MODULE has no place in a model: the error says what to write, for a member of a module.
// expect-error: mixprec: a struct is used as a module, but has no MIXPREC_MODULE. Write MIXPREC_MODULE(
#include <mixprec/plan/plan.hpp>

using namespace mixprec;

struct Block {
  nn::Linear<4, 4> fc;
#ifdef MIXPREC_CONTROL
  MIXPREC_MODULE(fc)
#endif
  constexpr auto operator()(auto const& x) const { return relu(fc(x)); }
};
struct Net {
  Block block;
  nn::Linear<4, 3> head;
  MIXPREC_MODULE(block, head)
  constexpr auto operator()(auto const& x) const { return head(block(x)); }
};
static_assert(plan<Net, Fp32, Shape{2, 4}>.rows() == 4);
