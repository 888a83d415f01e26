// SPDX-License-Identifier: Apache-2.0
// Cases for ops/pyramid_pool.hpp: its levels are adaptive pooling's results, and their gradients add up.
#include <mixprec/ops/adaptive_pool.hpp>
#include <mixprec/ops/pyramid_pool.hpp>

#include "harness.hpp"

namespace mixprec::test {
namespace {

/// Both levels and the first one's square, so that a level has two readers.
struct PyramidCase {
  Parameter<4> input{Shape{2, 8, 7, 5}}, first{Shape{2, 8, 3, 3}}, second{Shape{2, 8, 2, 2}};
  MIXPREC_MODULE(input, first, second)
  constexpr auto operator()(auto const& x) const {
    auto const pooled = Pyramid<3, 2>::pool(leaf<Fp16Op>(x, input));
    auto const fine = Pyramid<3, 2>::level<0>(pooled), coarse = Pyramid<3, 2>::level<1>(pooled);
    return sum(fine * leaf<Fp16Op>(x, first)) + sum(coarse * leaf<Fp16Op>(x, second)) + sum(fine * fine);
  }
};

TEST_CASE("the levels of a pyramid agree with the oracle under every policy") {
  check_op<PyramidCase, TestBackend>({.seed = 1, .terms = 400, .gain = 4});
}

template <bool AtOnce>
struct LevelCase {
  Parameter<4> input{Shape{2, 8, 12, 6}};
  MIXPREC_MODULE(input)
  constexpr auto operator()(auto const& x) const {
    auto const image = leaf<Fp16Op>(x, input);
    if constexpr (AtOnce) {
      return Pyramid<1, 2, 3, 6>::level<2>(Pyramid<1, 2, 3, 6>::pool(image));
    } else {
      return adaptive_avg_pool2d(image, 3, 3);
    }
  }
};

TEST_CASE("a pyramid's level is adaptive pooling's result") {
  Case const settings{.seed = 2};
  auto const state = draw_state<LevelCase<true>>(settings, Draw::coarse);
  Outcome const level = run<LevelCase<true>, Fp32, TestBackend>(settings, state);
  Outcome const alone = run<LevelCase<false>, Fp32, TestBackend>(settings, state);
  REQUIRE(level.output.size() == alone.output.size());
  for (std::size_t i = 0; i < level.output.size(); ++i)
    CHECK(std::abs(level.output[i] - alone.output[i]) <= 16 * 1.2e-7 * (1 + std::abs(alone.output[i])));
  CHECK(level.gradients == alone.gradients);
}

}  // namespace
}  // namespace mixprec::test
