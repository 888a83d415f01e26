// SPDX-License-Identifier: Apache-2.0
// A model of two thousand ops, planned by tests/plan/large.cpp and, compiler by compiler, by
// tests/checks/plan_limits.sh.
#pragma once

#include <mixprec/plan/plan.hpp>

namespace mixprec_test {

using namespace mixprec;

template <class M, class Indices>
struct RepeatOf;
template <class M, std::size_t... I>
struct RepeatOf<M, std::index_sequence<I...>> {
  template <std::size_t>
  using One = M;
  using type = nn::Sequential<One<I>...>;
};
template <class M, std::size_t Times>
using Repeat = typename RepeatOf<M, std::make_index_sequence<Times>>::type;

#ifndef MIXPREC_TEST_LARGE_POLICY
#define MIXPREC_TEST_LARGE_POLICY Amp<float16>
#endif

using LargeNet = Repeat<Repeat<nn::Sequential<nn::Linear<8, 8>, nn::ReLU>, 40>, 25>;
constexpr auto const& large = plan<LargeNet, MIXPREC_TEST_LARGE_POLICY, Shape{4, 8}>;
static_assert(large.rows() == 1 + 2000 + 1);  // the input's cast, the model, the loss
static_assert(large.materialized_casts() == 1);

}  // namespace mixprec_test
