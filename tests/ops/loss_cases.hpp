// SPDX-License-Identifier: Apache-2.0
// Cases for ops/loss.hpp.
#include "harness.hpp"

namespace mixprec::test {
namespace {

/// Labels and class weights are filled by the session that runs the case; a trace needs their extents only.
struct LossSettings {
  Values labels, class_weights;
  int ignore_index = -100;
};

struct CrossEntropyCase {
  static inline LossSettings now;
  Parameter<2> logits{Shape{6, 5}};
  MIXPREC_MODULE(logits)
  constexpr auto operator()(auto const& x) const {
    using B = typename std::remove_cvref_t<decltype(x)>::backend;
    auto const scores = leaf<Fp16Op>(x, logits);
    if constexpr (std::is_same_v<B, Meta>) {
      return cross_entropy(scores, Tensor<Meta, std::int32_t, 1>(Shape{6}));
    } else {
      auto& session = x.session();
      Tensor<B, float, 1> weights;
      if (!now.class_weights.empty()) weights = tensor_of<float>(session, Shape{5}, now.class_weights);
      return cross_entropy(scores, tensor_of<std::int32_t>(session, Shape{6}, now.labels), {now.ignore_index, weights});
    }
  }
};

struct MseCase {
  Parameter<2> a{Shape{4, 7}}, b{Shape{4, 7}};
  MIXPREC_MODULE(a, b)
  constexpr auto operator()(auto const& x) const { return mse_loss(leaf<Fp16Op>(x, a), leaf<FollowOp>(x, b)); }
};

TEST_CASE("cross_entropy agrees with the oracle, with class weights and ignored labels too") {
  LossSettings const settings[] = {
      {{0, 4, 2, 2, 1, 3}, {}, -100}, {{0, 4, -100, 2, 1, 3}, {}, -100}, {{0, 3, 2, 2, 1, 3}, {0.5, 2, 0.25, 1, 3}, 3}};
  unsigned seed = 1;
  for (LossSettings const& one : settings) {
    CrossEntropyCase::now = one;
    check_op<CrossEntropyCase, TestBackend>({.seed = seed++, .terms = 30, .gain = 4});
  }
}

TEST_CASE("cross_entropy is PyTorch's number: the weighted mean over labels that are not ignored") {
  CrossEntropyCase::now = {{0, 3, 2, 2, 1, 3}, {0.5, 2, 0.25, 1, 3}, 3};
  Case const settings{.seed = 7};
  auto const state = draw_state<CrossEntropyCase>(settings, Draw::coarse);
  Values const& logits = state[0].second;
  double total = 0, weight_total = 0;
  for (std::size_t row = 0; row < 6; ++row) {
    auto const label = static_cast<std::size_t>(CrossEntropyCase::now.labels[row]);
    if (label == 3) continue;
    double exponentials = 0;
    for (std::size_t column = 0; column < 5; ++column) exponentials += std::exp(logits[row * 5 + column]);
    double const weight = CrossEntropyCase::now.class_weights[label];
    total += weight * (std::log(exponentials) - logits[row * 5 + label]);
    weight_total += weight;
  }
  Values const loss = run<CrossEntropyCase, Fp32, TestBackend>(settings, state, false).output;
  CHECK_EQ(difference("loss", loss, {total / weight_total}, 1e-6), "");
}

TEST_CASE("cross_entropy says which label is no class on the CPU, and gives NaN where it would have to wait") {
  Case const settings{.seed = 8};
  auto const state = draw_state<CrossEntropyCase>(settings, Draw::coarse);
  for (double const label : {5.0, -1.0}) {
    CAPTURE(label);
    CrossEntropyCase::now = {{0, 4, 2, label, 1, 3}, {}, -100};
    if constexpr (std::is_same_v<TestBackend, Cpu>) {
      std::string message;
      try {
        run<CrossEntropyCase, Fp32, TestBackend>(settings, state);
      } catch (Error const& error) {
        message = error.what();
      }
      std::string const wanted = "target " + std::to_string(static_cast<int>(label)) + " of row 3 is no class of 5";
      CHECK_MESSAGE(message.find(wanted) != std::string::npos, message);
    } else {
      Outcome const outcome = run<CrossEntropyCase, Fp32, TestBackend>(settings, state);
      CHECK(std::isnan(outcome.output[0]));
      for (double const gradient : outcome.gradients[0].second) CHECK(std::isnan(gradient));
    }
  }
}

TEST_CASE("mse_loss of two dtypes agrees with the oracle under every policy") {
  check_op<MseCase, TestBackend>({.seed = 4, .terms = 28, .gain = 2});
}

}  // namespace
}  // namespace mixprec::test
