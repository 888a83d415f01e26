// SPDX-License-Identifier: Apache-2.0
// The harness must be able to fail: ops with a small mistake in forward, in backward or in memory are caught.
#include "harness.hpp"

namespace mixprec::test {
namespace {

enum class Mistake { none, forward, backward, unwritten };

/// y = 2 x, and what the mistake changes.
template <Mistake Made>
struct Doubled : OpBase {
  using precision = FollowOp;
  static constexpr char const* name = "doubled";
  template <int Rank>
  constexpr Shaped<Rank> shape(Shape<Rank> x) const {
    return x;
  }
  constexpr Keeps keeps(unsigned) const { return {}; }
  void forward(auto& session, auto& y, auto&, auto const& x) const {
    std::int64_t const written = Made == Mistake::unwritten ? x.size() - 1 : x.size();
    scale(session.stream(), x.data(), Made == Mistake::forward ? 2.02 : 2.0, y.data(), written);
  }
  void backward(auto& session, auto const& context, auto& gradients) const {
    auto const& dx = std::get<0>(gradients);
    scale(session.stream(), context.gradient.data(), Made == Mistake::backward ? 2.02 : 2.0, dx.data(), dx.size());
  }
};

template <Mistake Made>
struct DoubledCase {
  Parameter<2> input{Shape{3, 5}};
  MIXPREC_MODULE(input)
  constexpr auto operator()(auto const& x) const { return apply(Doubled<Made>{}, x.place(), leaf<Fp16Op>(x, input)); }
};

/// What a run under Amp<float16> differs in from the oracle of the op without a mistake.
template <Mistake Made>
std::string verdict() {
  Case const settings{.seed = 1};
  auto const state = draw_state<DoubledCase<Mistake::none>>(settings, Draw::coarse);
  Outcome const oracle = run<DoubledCase<Mistake::none>, Fp64, Cpu>(settings, state);
  Outcome const outcome = run<DoubledCase<Made>, Amp<float16>, Cpu>(settings, state);
  double const relative = tolerance_of(outcome.rows, settings);
  std::string const output = difference("output", outcome.output, oracle.output, relative);
  return output.empty() ? difference(outcome.gradients, oracle.gradients, relative) : output;
}

TEST_CASE("the harness accepts a right op and names what a wrong one gets wrong") {
  CHECK_EQ(verdict<Mistake::none>(), "");
  CHECK(verdict<Mistake::forward>().substr(0, 7) == "output[");
  CHECK(verdict<Mistake::backward>().substr(0, 6) == "input[");
  std::string const unwritten = verdict<Mistake::unwritten>();
  CHECK_MESSAGE(unwritten.find("output[14]: ") == 0, unwritten);
}

TEST_CASE("the harness wants NaN where the oracle has NaN, and nowhere else") {
  double const nan = std::numeric_limits<double>::quiet_NaN();
  CHECK_EQ(difference("x", {1, nan}, {1, nan}, 0.1), "");
  CHECK(difference("x", {1, 2}, {1, nan}, 0.1) != "");
  CHECK(difference("x", {1, nan}, {1, 2}, 0.1) != "");
  CHECK(difference("x", {1}, {1, 2}, 0.1) != "");
}

}  // namespace
}  // namespace mixprec::test
