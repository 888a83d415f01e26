// SPDX-License-Identifier: Apache-2.0
// Cases for ops/softmax.hpp.
#include "harness.hpp"

namespace mixprec::test {
namespace {

template <bool Log, class Stored>
struct SoftmaxCase {
  Parameter<2> input{Shape{5, 9}};
  MIXPREC_MODULE(input)
  constexpr auto operator()(auto const& x) const {
    if constexpr (Log) {
      return log_softmax(leaf<Stored>(x, input));
    } else {
      return softmax(leaf<Stored>(x, input));
    }
  }
};

TEST_CASE("softmax of half and of float agrees with the oracle under every policy") {
  check_op<SoftmaxCase<false, Fp16Op>, TestBackend>({.seed = 1, .terms = 9, .gain = 4});
  check_op<SoftmaxCase<false, FollowOp>, TestBackend>({.seed = 2, .terms = 9, .gain = 4});
}

TEST_CASE("log_softmax of half and of float agrees with the oracle under every policy") {
  check_op<SoftmaxCase<true, Fp16Op>, TestBackend>({.seed = 3, .terms = 9, .gain = 4});
  check_op<SoftmaxCase<true, FollowOp>, TestBackend>({.seed = 4, .terms = 9, .gain = 4});
}

}  // namespace
}  // namespace mixprec::test
