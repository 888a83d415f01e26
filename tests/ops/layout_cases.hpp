// SPDX-License-Identifier: Apache-2.0
// Cases for ops/layout.hpp.
#include "harness.hpp"

namespace mixprec::test {
namespace {

/// An image to rows, a product that only the right order of elements survives, and back to another image.
struct ReshapeCase {
  Parameter<4> image{Shape{2, 3, 4, 2}};
  Parameter<2> factor{Shape{2, 24}};
  MIXPREC_MODULE(image, factor)
  constexpr auto operator()(auto const& x) const {
    return reshape(flatten(leaf<Fp16Op>(x, image)) * leaf<Fp16Op>(x, factor), Shape{2, 6, 2, 2});
  }
};

struct ViewCase {
  Parameter<2> rows{Shape{4, 6}};
  MIXPREC_MODULE(rows)
  constexpr auto operator()(auto const& x) const {
    return permute(reshape(leaf<Fp16Op>(x, rows), Shape{2, 4, 3}), {2, 0, 1});
  }
};

struct PermuteCase {
  Parameter<4> image{Shape{2, 3, 4, 5}};
  MIXPREC_MODULE(image)
  constexpr auto operator()(auto const& x) const { return permute(leaf<Fp16Op>(x, image), {1, 3, 0, 2}); }
};

TEST_CASE("flatten and reshape agree with the oracle under every policy") {
  check_op<ReshapeCase, TestBackend>({.seed = 1});
}

TEST_CASE("a reshape without a copy and a permutation of three axes agree with the oracle under every policy") {
  check_op<ViewCase, TestBackend>({.seed = 2});
}

TEST_CASE("a permutation of an image agrees with the oracle under every policy") {
  check_op<PermuteCase, TestBackend>({.seed = 3});
}

TEST_CASE("permute and flatten move every element to PyTorch's logical place") {
  Case const settings{.seed = 4};
  auto const state = draw_state<PermuteCase>(settings, Draw::coarse);
  Values const& x = state[0].second;  // logical (2,3,4,5)
  Values const y =
      run<PermuteCase, Amp<float16>, TestBackend>(settings, state, false).output;  // (3,5,2,4) as NHWC: (3,2,4,5)
  REQUIRE(y.size() == x.size());
  std::size_t at = 0, wrong = 0;
  for (std::size_t i = 0; i < 3; ++i)
    for (std::size_t k = 0; k < 2; ++k)
      for (std::size_t l = 0; l < 4; ++l)
        for (std::size_t j = 0; j < 5; ++j) wrong += y[at++] != x[((k * 3 + i) * 4 + l) * 5 + j] ? 1 : 0;
  CHECK(wrong == 0);

  auto rows_state = draw_state<ReshapeCase>(settings, Draw::coarse);
  for (double& value : rows_state[1].second) value = 1;
  Values const& image = rows_state[0].second;  // logical (2,3,4,2), read as (2,6,2,2), stored (2,2,2,6)
  Values const z = run<ReshapeCase, Amp<float16>, TestBackend>(settings, rows_state, false).output;
  REQUIRE(z.size() == image.size());
  at = 0, wrong = 0;
  for (std::size_t n = 0; n < 2; ++n)
    for (std::size_t hw = 0; hw < 4; ++hw)
      for (std::size_t c = 0; c < 6; ++c) wrong += z[at++] != image[(n * 6 + c) * 4 + hw] ? 1 : 0;
  CHECK(wrong == 0);
}

}  // namespace
}  // namespace mixprec::test
