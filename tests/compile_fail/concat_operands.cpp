// SPDX-License-Identifier: Apache-2.0
// One operand more than a concat takes.
// expect-error: mixprec: concat: it takes at most 32 values. Concatenate in two steps.
#include <cstddef>
#include <utility>

#include <mixprec/ops/concat.hpp>

using namespace mixprec;

#ifdef MIXPREC_CONTROL
constexpr int count = 32;
#else
constexpr int count = 33;
#endif

template <class X, std::size_t... I>
auto joined(X const (&x)[count], std::index_sequence<I...>) {
  return concat(x[I]...);
}

using X = Value<Meta, float, 2, 8, Fp32>;
using Y = decltype(joined(std::declval<X const (&)[count]>(), std::make_index_sequence<count>{}));
