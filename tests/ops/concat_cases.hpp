// SPDX-License-Identifier: Apache-2.0
// Cases for ops/concat.hpp: widths that do and do not allow wide accesses, mixed dtypes, a value given twice.
#include <mixprec/ops/concat.hpp>

#include "harness.hpp"

namespace mixprec::test {
namespace {

/// Images; the second operand is wider than the first where the policy mixes.
template <int First, int Second>
struct ImagesCase {
  Parameter<4> a{Shape{3, First, 4, 5}}, b{Shape{3, Second, 4, 5}};
  MIXPREC_MODULE(a, b)
  constexpr auto operator()(auto const& x) const { return concat(leaf<Fp16Op>(x, a), leaf<FollowOp>(x, b)); }
};

struct ConcatRowsCase {
  Parameter<2> a{Shape{5, 8}}, b{Shape{5, 3}}, c{Shape{5, 16}};
  MIXPREC_MODULE(a, b, c)
  constexpr auto operator()(auto const& x) const {
    return concat(leaf<Fp16Op>(x, a), leaf<Fp16Op>(x, b), leaf<Fp16Op>(x, c));
  }
};

/// One value twice, and a product of the halves' order, so that swapped slices are seen.
struct ConcatTwiceCase {
  Parameter<2> a{Shape{5, 8}}, b{Shape{5, 24}};
  MIXPREC_MODULE(a, b)
  constexpr auto operator()(auto const& x) const {
    auto const once = leaf<Fp16Op>(x, a);
    auto const doubled = once * once;
    return concat(once, doubled, once) * leaf<Fp16Op>(x, b);
  }
};

TEST_CASE("concat of images agrees with the oracle under every policy, in wide and in odd widths") {
  check_op<ImagesCase<8, 16>, TestBackend>({.seed = 1});
  check_op<ImagesCase<3, 5>, TestBackend>({.seed = 2});
  check_op<ImagesCase<8, 4>, TestBackend>({.seed = 3});
}

TEST_CASE("concat of rows agrees with the oracle under every policy") {
  check_op<ConcatRowsCase, TestBackend>({.seed = 4});
}

TEST_CASE("a value that is concatenated twice gets both gradients") {
  check_op<ConcatTwiceCase, TestBackend>({.seed = 5, .gain = 3});
}

TEST_CASE("concat puts operands in order and stores the widest dtype") {
  Case const settings{.seed = 6};
  NamedValues const state = draw_state<ConcatRowsCase>(settings, Draw::coarse);
  Outcome const outcome = run<ConcatRowsCase, Amp<float16>, TestBackend>(settings, state, false);
  Values expected;
  for (std::size_t row = 0; row < 5; ++row)
    for (auto const& [name, values] : state) {
      std::size_t const width = values.size() / 5;
      for (std::size_t column = 0; column < width; ++column) expected.push_back(values[row * width + column]);
    }
  CHECK(outcome.output == expected);
  CHECK(outcome.rows.back().precision.result == DType::float16);
  CHECK(outcome.rows.back().folded_casts == 0);

  Outcome const mixed = run<ImagesCase<8, 4>, Amp<float16>, TestBackend>(
      settings, draw_state<ImagesCase<8, 4>>(settings, Draw::coarse), false);
  CHECK(mixed.rows.back().precision.result == DType::float32);
  CHECK(mixed.rows.back().folded_casts == 1);
}

using RowsOf = Value<TestBackend, float, 2, 3, Fp32>;
static_assert(decltype(concat(std::declval<RowsOf>(), std::declval<RowsOf>()))::channels == 6);
static_assert(decltype(concat(std::declval<RowsOf>(),
                              std::declval<Value<TestBackend, float, 2, dynamic_channels, Fp32>>()))::channels ==
              dynamic_channels);

struct MisfitCase {
  Parameter<4> a{Shape{3, 2, 4, 5}}, b{Shape{3, 2, 4, 6}};
  MIXPREC_MODULE(a, b)
  constexpr auto operator()(auto const& x) const { return concat(leaf<Fp16Op>(x, a), leaf<Fp16Op>(x, b)); }
};

TEST_CASE("concat of images whose extents differ is refused with both values") {
  Model<MisfitCase, Fp32, TestBackend> model{1};
  auto const input = tensor_of<float>(model.session(), Shape{1}, {0});
  CHECK_THROWS_WITH_AS((void)model(input),
                       "mixprec: concat: extents of the operands do not fit: expected 5, received 6. Change the layer "
                       "or the shape of its input.",
                       Error);
}

}  // namespace
}  // namespace mixprec::test
