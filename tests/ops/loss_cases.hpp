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

/// What a loss of logits (or input) and labels (or target) of these extents says; empty where it fits.
template <int Rank, int LabelRank>
std::string cross_entropy_refusal(Shape<Rank> extents, Shape<LabelRank> label_extents, std::int64_t weights = 0) {
  Model<CrossEntropyCase, Fp32, TestBackend> model{1};
  auto& session = model.session();
  Value<TestBackend, float, Rank, dynamic_channels, Fp32> const logits(
      session, tensor_of<float>(session, extents, Values(static_cast<std::size_t>(extents.size()), 0.5)), {}, {});
  auto const labels =
      tensor_of<std::int32_t>(session, label_extents, Values(static_cast<std::size_t>(label_extents.size()), 1));
  CrossEntropyOptions<TestBackend> options;
  if (weights > 0)
    options.weight = tensor_of<float>(session, Shape{weights}, Values(static_cast<std::size_t>(weights), 1));
  try {
    (void)cross_entropy(logits, labels, options);
  } catch (Error const& error) {
    return error.what();
  }
  return {};
}
template <int Rank>
std::string mse_refusal(Shape<Rank> extents, Shape<Rank> target_extents) {
  Model<MseCase, Fp32, TestBackend> model{1};
  auto& session = model.session();
  using V = Value<TestBackend, float, Rank, dynamic_channels, Fp32>;
  V const x(session, session.template allocate<float>(extents), {}, {});
  V const target(session, session.template allocate<float>(target_extents), {}, {});
  try {
    (void)mse_loss(x, target);
  } catch (Error const& error) {
    return error.what();
  }
  return {};
}

TEST_CASE("a loss refuses labels, weights and targets that do not fit, and says what to do about them") {
  CHECK(cross_entropy_refusal(Shape{6, 5}, Shape{6}).empty());
  CHECK(cross_entropy_refusal(Shape{6, 5}, Shape{6}, 5).empty());
  CHECK_EQ(cross_entropy_refusal(Shape{6, 5}, Shape{4}),
           "mixprec: cross_entropy: labels and rows of logits do not fit: expected 6, received 4. Give one label for "
           "each row of the logits.");
  CHECK_EQ(cross_entropy_refusal(Shape{6, 5}, Shape{6}, 4),
           "mixprec: cross_entropy: class weights and classes do not fit: expected 5, received 4. Give one weight for "
           "each class.");
  CHECK_EQ(cross_entropy_refusal(Shape{2, 5, 3, 4}, Shape{2, 3, 7}),
           "mixprec: cross_entropy: extents of labels and logits do not fit: expected 4, received 7. Give one label "
           "for each pixel of the logits, or resize the logits to the labels' size.");
  CHECK_EQ(mse_refusal(Shape{4, 7}, Shape{4, 6}),
           "mixprec: mse_loss: extents of input and target do not fit: expected 7, received 6. Give a target of the "
           "input's shape.");
}

TEST_CASE("a loss of an empty batch is refused, since its mean is of nothing") {
  std::string const labels =
      "mixprec: cross_entropy: labels in the batch (at least 1) do not fit: expected 1, received 0. Pass over empty "
      "batches: call neither the model nor the loss on them.";
  CHECK_EQ(cross_entropy_refusal(Shape{0, 5}, Shape{0}), labels);
  CHECK_EQ(cross_entropy_refusal(Shape{0, 5, 3, 4}, Shape{0, 3, 4}), labels);
  CHECK_EQ(cross_entropy_refusal(Shape{2, 5, 0, 4}, Shape{2, 0, 4}), labels);
  std::string const values = mse_refusal(Shape{0, 7}, Shape{0, 7});
  CHECK_MESSAGE(values.starts_with("mixprec: mse_loss: values in the batch (at least 1) do not fit"), values);
}

TEST_CASE("cross_entropy is NaN where no label counts, and its gradient is 0, as in PyTorch") {
  CrossEntropyCase::now = {Values(6, -100), {}, -100};
  Case const settings{.seed = 9};
  auto const state = draw_state<CrossEntropyCase>(settings, Draw::coarse);
  for_each_policy([&]<class Policy>() {
    Outcome const outcome = run<CrossEntropyCase, Policy, TestBackend>(settings, state);
    CHECK(std::isnan(outcome.output[0]));
    CHECK_EQ(difference("gradient", outcome.gradients[0].second, Values(30, 0), 0), "");
  });
}

TEST_CASE("mse_loss of two dtypes agrees with the oracle under every policy") {
  check_op<MseCase, TestBackend>({.seed = 4, .terms = 28, .gain = 2});
}

}  // namespace
}  // namespace mixprec::test
