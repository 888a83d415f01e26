// SPDX-License-Identifier: Apache-2.0
// Cases for ops/dropout.hpp.
#include "harness.hpp"

namespace mixprec::test {
namespace {

struct DropoutCase {
  Parameter<2> input{Shape{40, 100}};
  MIXPREC_MODULE(input)
  constexpr auto operator()(auto const& x) const { return dropout(leaf<Fp16Op>(x, input), 0.25); }
};

/// Two calls in one pass: their masks must differ.
struct DropoutTwiceCase {
  Parameter<2> input{Shape{40, 100}};
  MIXPREC_MODULE(input)
  constexpr auto operator()(auto const& x) const { return dropout(dropout(leaf<Fp16Op>(x, input), 0.5), 0.5); }
};

Values ones(std::size_t count) { return Values(count, 1.0); }

std::size_t kept(Values const& values) {
  std::size_t count = 0;
  for (double const value : values) count += value != 0 ? 1 : 0;
  return count;
}

// The oracle runs on the CPU, so agreement also says that the mask is the same on every backend and for every dtype.
TEST_CASE("dropout has one mask on every backend and under every policy, in forward and in backward") {
  check_op<DropoutCase, TestBackend>({.seed = 1});
}

TEST_CASE("dropout keeps the expected share and scales it up, and its gradient passes where values passed") {
  Case const settings{.seed = 2};
  NamedValues const state{{"input", ones(4000)}};
  Outcome const outcome = run<DropoutCase, Amp<float16>, TestBackend>(settings, state);
  double const share = static_cast<double>(kept(outcome.output)) / 4000;
  CHECK(std::abs(share - 0.75) < 5 * std::sqrt(0.75 * 0.25 / 4000));
  Values const g = upstream(4000);
  std::size_t wrong = 0;
  for (std::size_t index = 0; index < 4000; ++index) {
    double const y = outcome.output[index], dx = outcome.gradients[0].second[index];
    wrong += y != 0 && std::abs(y - 4.0 / 3) > 1e-3 ? 1 : 0;
    wrong += std::abs(dx - y * g[index]) > 2e-3 * std::abs(g[index]) ? 1 : 0;
  }
  CHECK(wrong == 0);
}

TEST_CASE("each call of dropout has a mask of its own") {
  NamedValues const state{{"input", ones(4000)}};
  Values const twice = run<DropoutTwiceCase, Amp<float16>, TestBackend>({.seed = 3}, state, false).output;
  double const share = static_cast<double>(kept(twice)) / 4000;
  CHECK(std::abs(share - 0.25) < 5 * std::sqrt(0.25 * 0.75 / 4000));
  Values const once = run<DropoutCase, Amp<float16>, TestBackend>({.seed = 3}, state, false).output;
  Values const other_seed = run<DropoutCase, Amp<float16>, TestBackend>({.seed = 4}, state, false).output;
  CHECK(once != other_seed);
}

TEST_CASE("dropout in evaluation is the identity") {
  Case const settings{.seed = 5, .training = false};
  auto const state = draw_state<DropoutCase>(settings, Draw::coarse);
  Outcome const outcome = run<DropoutCase, Amp<float16>, TestBackend>(settings, state);
  CHECK(outcome.output == state[0].second);
  CHECK(outcome.gradients[0].second == upstream(4000));
  CHECK(outcome.rows.size() == 1);
}

struct ChannelsCase {
  static inline Shape<4> now{{1, 1, 1, 1}};
  Parameter<4> input{now};
  MIXPREC_MODULE(input)
  constexpr auto operator()(auto const& x) const { return dropout2d(leaf<Fp16Op>(x, input), 0.25); }
};

TEST_CASE("dropout2d has one mask on every backend and under every policy, in forward and in backward") {
  for (Shape<4> const& shape : {Shape{3, 16, 4, 5}, Shape{5, 3, 2, 7}, Shape{2, 130, 1, 1}}) {
    ChannelsCase::now = shape;
    check_op<ChannelsCase, TestBackend>({.seed = 6});
  }
}

TEST_CASE("dropout2d drops whole channels of single images, and the expected share of them") {
  ChannelsCase::now = Shape{40, 50, 2, 3};
  Values const output =
      run<ChannelsCase, Amp<float16>, TestBackend>({.seed = 7}, {{"input", ones(12000)}}, false).output;
  std::size_t dropped = 0, mixed = 0;
  for (std::size_t image = 0; image < 40; ++image)
    for (std::size_t channel = 0; channel < 50; ++channel) {
      std::size_t zeros = 0;
      for (std::size_t pixel = 0; pixel < 6; ++pixel) zeros += output[(image * 6 + pixel) * 50 + channel] == 0 ? 1 : 0;
      dropped += zeros == 6 ? 1 : 0;
      mixed += zeros > 0 && zeros < 6 ? 1 : 0;
    }
  CHECK(mixed == 0);
  CHECK(std::abs(static_cast<double>(dropped) / 2000 - 0.25) < 5 * std::sqrt(0.25 * 0.75 / 2000));
}

}  // namespace
}  // namespace mixprec::test
