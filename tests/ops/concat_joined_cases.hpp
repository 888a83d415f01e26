// SPDX-License-Identifier: Apache-2.0
// Cases for concat's joining: batch norms and resizes that write their channels into the result change no bit.
#include <mixprec/nn/branches.hpp>
#include <mixprec/ops/resize.hpp>

#include "harness.hpp"

namespace mixprec::test {
namespace {

/// A batch norm, one with a relu behind it, a plain value and a resize beside each other, times weights, so that every
/// channel has a gradient of its own; without `Join` all of them are read before.
template <bool Join, int A, int B, int C, int D>
struct BesideCase {
  Parameter<4> a{Shape{2, A, 4, 6}}, b{Shape{2, B, 4, 6}}, c{Shape{2, C, 4, 6}}, d{Shape{2, D, 2, 3}};
  Parameter<4> weights{Shape{2, A + B + C + D, 4, 6}};
  nn::BatchNorm2d<A> norm;
  nn::BatchNorm2d<B> rectified;
  MIXPREC_MODULE(a, b, c, d, weights, norm, rectified)
  constexpr auto operator()(auto const& x) const {
    auto first = norm(leaf<Fp16Op>(x, a));
    auto second = relu_later(rectified(leaf<Fp16Op>(x, b)));
    auto const third = leaf<Fp16Op>(x, c);
    auto fourth = resize(leaf<Fp16Op>(x, d), {4, 6});
    if constexpr (!Join) (void)first.tensor(), (void)second.tensor(), (void)fourth.tensor();
    return concat(std::move(first), std::move(second), third, std::move(fourth)) * leaf<Fp16Op>(x, weights);
  }
};

template <int A, int B, int C, int D>
void check_bits(unsigned seed) {
  Case const settings{.seed = seed};
  auto const state = draw_state<BesideCase<true, A, B, C, D>>(settings, Draw::smooth);
  for_each_policy([&]<class Policy>() {
    Outcome const joined = run<BesideCase<true, A, B, C, D>, Policy, TestBackend>(settings, state);
    Outcome const copied = run<BesideCase<false, A, B, C, D>, Policy, TestBackend>(settings, state);
    CHECK(joined.rows.size() == copied.rows.size());
    CHECK(joined.output == copied.output);
    CHECK(joined.gradients == copied.gradients);
    CHECK(joined.buffers == copied.buffers);
  });
}

TEST_CASE("what joins a concat gives the bits of the copies where both are accessed in one width") {
  check_bits<8, 16, 8, 24>(1);
  check_bits<3, 5, 1, 2>(2);
}

TEST_CASE("a concat that others have joined agrees with the oracle under every policy") {
  check_op<BesideCase<true, 8, 16, 8, 4>, TestBackend>({.seed = 4, .terms = 80, .gain = 6});
  check_op<BesideCase<true, 8, 3, 8, 8>, TestBackend>({.seed = 3, .terms = 80, .gain = 6});
}

/// What the forward pass of a training step holds at most, in bytes of the arena.
template <class Net>
std::size_t forward_peak() {
  Model<Net, Amp<bfloat16>, TestBackend> model{1};
  auto const input = tensor_of<float>(model.session(), Shape{1}, {0});
  (void)model(input);
  model.session().begin_step();
  model.session().arena().reset_high_water();
  (void)model(input);
  return model.session().arena().high_water();
}

TEST_CASE("a concat that others have joined holds less in its forward pass than one that copies") {
  std::size_t const copies = 2 * 4 * 6 * (64 + 64 + 64) * sizeof(bfloat16);
  CHECK(forward_peak<BesideCase<true, 64, 64, 8, 64>>() + copies <= forward_peak<BesideCase<false, 64, 64, 8, 64>>());
}

/// The first branch wants no gradient.
template <bool Join>
struct FrozenBranchCase {
  Parameter<4> a{Shape{2, 8, 4, 6}}, b{Shape{2, 8, 4, 6}};
  nn::Frozen<nn::BatchNorm2d<8>> still;
  nn::BatchNorm2d<8> norm;
  MIXPREC_MODULE(a, b, still, norm)
  constexpr auto operator()(auto const& x) const {
    auto first = still(leaf<Fp16Op>(x, a).detach());
    auto second = norm(leaf<Fp16Op>(x, b));
    if constexpr (!Join) (void)first.tensor(), (void)second.tensor();
    return concat(std::move(first), std::move(second));
  }
};

TEST_CASE("a joined branch without a gradient changes no bit of the others'") {
  Case const settings{.seed = 5};
  auto const state = draw_state<FrozenBranchCase<true>>(settings, Draw::smooth);
  for_each_policy([&]<class Policy>() {
    Outcome const joined = run<FrozenBranchCase<true>, Policy, TestBackend>(settings, state);
    Outcome const copied = run<FrozenBranchCase<false>, Policy, TestBackend>(settings, state);
    CHECK(joined.output == copied.output);
    CHECK(joined.gradients == copied.gradients);
  });
}

}  // namespace
}  // namespace mixprec::test
