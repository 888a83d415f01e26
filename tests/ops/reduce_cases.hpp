// SPDX-License-Identifier: Apache-2.0
// Cases for ops/reduce.hpp.
#include "harness.hpp"

namespace mixprec::test {
namespace {

template <bool Mean>
struct ReductionCase {
  Parameter<4> input{Shape{2, 5, 3, 7}};
  MIXPREC_MODULE(input)
  constexpr auto operator()(auto const& x) const {
    if constexpr (Mean) {
      return mean(leaf<Fp16Op>(x, input));
    } else {
      return sum(leaf<Fp16Op>(x, input));
    }
  }
};

// The terms cancel, so a sum's error is many times its relative size.
TEST_CASE("sum over all elements agrees with the oracle under every policy") {
  check_op<ReductionCase<false>, TestBackend>({.seed = 1, .terms = 210, .gain = 2});
}

TEST_CASE("mean over all elements agrees with the oracle under every policy") {
  check_op<ReductionCase<true>, TestBackend>({.seed = 2, .terms = 210, .gain = 2});
}

}  // namespace
}  // namespace mixprec::test
