// SPDX-License-Identifier: Apache-2.0
// The error of no_module_child.cpp, for a module of Sequential that has no members either.
// expect-error: mixprec: a struct is used as a module, but has no MIXPREC_MODULE. Write MIXPREC_MODULE(
#include <mixprec/nn/containers.hpp>

using namespace mixprec;

struct Twice {
#ifdef MIXPREC_CONTROL
  MIXPREC_MODULE()
#endif
  constexpr auto operator()(auto const& x) const { return x + x; }
};

using Net = nn::Sequential<nn::Linear<4, 4>, Twice, nn::Linear<4, 3>>;
using X = Value<Meta, float, 2, dynamic_channels, Fp32>;
using Y = decltype(Net{}(std::declval<X const&>()));
