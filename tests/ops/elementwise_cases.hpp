// SPDX-License-Identifier: Apache-2.0
// Cases for ops/elementwise.hpp and ops/cast.hpp.
#include "harness.hpp"

namespace mixprec::test {
namespace {

struct ReluCase {
  Parameter<2> input{Shape{5, 13}};
  MIXPREC_MODULE(input)
  constexpr auto operator()(auto const& x) const { return relu(leaf<Fp16Op>(x, input)); }
};

/// One half and one float operand where the policy mixes.
struct AddCase {
  Parameter<2> a{Shape{5, 13}}, b{Shape{5, 13}};
  MIXPREC_MODULE(a, b)
  constexpr auto operator()(auto const& x) const { return leaf<Fp16Op>(x, a) + leaf<FollowOp>(x, b); }
};

struct MulCase {
  Parameter<2> a{Shape{5, 13}}, b{Shape{5, 13}};
  MIXPREC_MODULE(a, b)
  constexpr auto operator()(auto const& x) const { return leaf<FollowOp>(x, a) * leaf<Fp16Op>(x, b); }
};

struct ScaleCase {
  Parameter<2> a{Shape{5, 13}};
  MIXPREC_MODULE(a)
  constexpr auto operator()(auto const& x) const { return -0.4 * leaf<Fp16Op>(x, a); }
};

struct CastCase {
  Parameter<2> a{Shape{5, 13}};
  MIXPREC_MODULE(a)
  constexpr auto operator()(auto const& x) const {
    auto const low = leaf<Fp16Op>(x, a);
    // Through float, or double where the oracle runs, and back.
    using Low = typename std::remove_cvref_t<decltype(low)>::dtype;
    return cast_to<Low>(cast_to<accumulator_t<Low>>(low));
  }
};

TEST_CASE("relu agrees with the oracle under every policy") { check_op<ReluCase, TestBackend>({.seed = 1}); }

TEST_CASE("add of two dtypes agrees with the oracle under every policy") {
  check_op<AddCase, TestBackend>({.seed = 2});
}

TEST_CASE("mul of two dtypes agrees with the oracle under every policy") {
  check_op<MulCase, TestBackend>({.seed = 3});
}

TEST_CASE("a product with a number agrees with the oracle under every policy") {
  check_op<ScaleCase, TestBackend>({.seed = 5});
}

TEST_CASE("a cast and its gradient agree with the oracle under every policy") {
  check_op<CastCase, TestBackend>({.seed = 4});
}

}  // namespace
}  // namespace mixprec::test
