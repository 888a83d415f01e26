// SPDX-License-Identifier: Apache-2.0
// Cases for ops/linear.hpp.
#include "harness.hpp"

namespace mixprec::test {
namespace {

template <class Stored>
struct MatmulCase {
  Parameter<2> a{Shape{5, 12}}, b{Shape{12, 3}};
  MIXPREC_MODULE(a, b)
  constexpr auto operator()(auto const& x) const { return matmul(leaf<Stored>(x, a), leaf<Stored>(x, b)); }
};

template <bool Bias>
struct LinearCase {
  Parameter<2> input{Shape{6, 11}};
  nn::Linear<11, 7, Bias> fc;
  MIXPREC_MODULE(input, fc)
  constexpr auto operator()(auto const& x) const { return fc(leaf<FollowOp>(x, input)); }
};

TEST_CASE("matmul of float and of half operands agrees with the oracle under every policy") {
  check_op<MatmulCase<FollowOp>, TestBackend>({.terms = 12});
  check_op<MatmulCase<Fp16Op>, TestBackend>({.seed = 2, .terms = 12});
}

TEST_CASE("linear with and without bias agrees with the oracle under every policy") {
  check_op<LinearCase<true>, TestBackend>({.seed = 3, .terms = 11});
  check_op<LinearCase<false>, TestBackend>({.seed = 4, .terms = 11});
}

}  // namespace
}  // namespace mixprec::test
