// SPDX-License-Identifier: Apache-2.0
// Cases for ops/resize_cross_entropy.hpp: the fused loss against the resize and the loss one after the other.
#include "harness.hpp"

namespace mixprec::test {
namespace {

struct SegmentationSettings {
  Shape<4> logits;
  ResizeSize size;
  bool align_corners = false;
  bool class_weights = false;
  int ignored_every = 0;  // label; 0: none
  int ignore_index = -100;

  std::int64_t labels() const { return logits[0] * size.height * size.width; }
};

SegmentationSettings const segmentations[] = {
    {Shape{2, 19, 4, 5}, {16, 20}},
    {Shape{1, 3, 9, 10}, {36, 40}, false, true, 3, 255},
    {Shape{1, 150, 3, 4}, {7, 9}, false, true, 4},
    {Shape{1, 5, 17, 9}, {34, 18}, false, false, 5, 0},
    {Shape{2, 4, 8, 7}, {3, 2}, false, true},
    {Shape{1, 6, 5, 3}, {3, 11}},
    {Shape{2, 7, 1, 1}, {5, 6}},
    {Shape{1, 21, 4, 4}, {4, 4}},
    {Shape{1, 2, 2, 2}, {80, 70}},
    {Shape{1, 33, 5, 5}, {17, 17}, true, false, 3},
    {Shape{1, 100, 2, 3}, {1, 4}, true},
};

/// Labels 0 ... V-1 in no order, and every so many an ignored one.
Values labels_of(SegmentationSettings const& settings) {
  std::mt19937 generator(7);
  std::uniform_int_distribution<int> label(0, static_cast<int>(settings.logits[1]) - 1);
  Values values;
  for (std::int64_t at = 0; at < settings.labels(); ++at) {
    bool const ignored = settings.ignored_every > 0 && at % settings.ignored_every == 0;
    values.push_back(ignored ? settings.ignore_index : label(generator));
  }
  return values;
}

template <bool Fused>
struct SegmentationLossCase {
  static inline SegmentationSettings now{Shape{1, 1, 1, 1}, {1, 1}};
  static inline Values labels;
  Parameter<4> logits{now.logits};
  MIXPREC_MODULE(logits)
  constexpr auto operator()(auto const& x) const {
    using B = typename std::remove_cvref_t<decltype(x)>::backend;
    auto const scores = leaf<Fp16Op>(x, logits);
    Shape<3> const extents{{now.logits[0], now.size.height, now.size.width}};
    ResizeOptions const how{.align_corners = now.align_corners};
    if constexpr (std::is_same_v<B, Meta>) {
      return cross_entropy(resize(scores, now.size, how), Tensor<Meta, std::int32_t, 3>(extents));
    } else {
      auto& session = x.session();
      Tensor<B, float, 1> weights;
      if (now.class_weights) {
        Values values;
        for (std::int64_t at = 0; at < now.logits[1]; ++at) values.push_back(0.25 * static_cast<double>(1 + at % 5));
        weights = tensor_of<float>(session, Shape{now.logits[1]}, values);
      }
      auto const target = tensor_of<std::int32_t>(session, extents, labels);
      CrossEntropyOptions<B> const options{now.ignore_index, weights};
      if constexpr (Fused) {
        return cross_entropy(resize(scores, now.size, how), target, options);
      } else {
        auto const resized = resize(scores, now.size, how);
        return cross_entropy(resized, target, options);
      }
    }
  }
};
using FusedLoss = SegmentationLossCase<true>;
using TwoOps = SegmentationLossCase<false>;

void use(SegmentationSettings const& settings, Values const& labels) {
  FusedLoss::now = TwoOps::now = settings;
  FusedLoss::labels = TwoOps::labels = labels;
}

TEST_CASE("cross-entropy of a resize agrees with the two ops in double under every policy") {
  unsigned seed = 1;
  for (SegmentationSettings const& one : segmentations) {
    INFO(to_string(one.logits) << " to " << one.size.height << " x " << one.size.width);
    use(one, labels_of(one));
    Case const settings{.seed = seed++, .terms = one.labels(), .gain = 4};
    if (std::is_same_v<TestBackend, Cpu>) check_differences<FusedLoss>(settings);
    NamedValues const state = draw_state<FusedLoss>(settings, Draw::coarse);
    Outcome const oracle = run<TwoOps, Fp64, Cpu>(settings, state);
    CHECK(count_rows(oracle.rows, "resize") == 1);
    CHECK(count_rows(oracle.rows, "cross_entropy") == 1);
    for_each_policy([&]<class Policy>() {
      check_against_oracle<FusedLoss, Policy, TestBackend>(settings, state, oracle);
      check_against_oracle<TwoOps, Policy, TestBackend>(settings, state, oracle);
    });
  }
}

TEST_CASE("cross-entropy of a resize is one op, which keeps the logits and one float a label") {
  use(segmentations[0], labels_of(segmentations[0]));
  Case const settings{.seed = 2};
  auto const state = draw_state<FusedLoss>(settings, Draw::coarse);
  auto const rows = run<FusedLoss, Amp<float16>, TestBackend>(settings, state).rows;
  REQUIRE(rows.size() == 2);
  CHECK(std::string(rows[1].op) == "resize+cross_entropy");
  CHECK(rows[1].precision.result == DType::float32);
  CHECK(rows[1].kept_bytes == 2 * segmentations[0].logits.size() + 4 * segmentations[0].labels() + 4);
}

TEST_CASE("cross-entropy of a resize holds for logits of large magnitude and for distant neighbours") {
  SegmentationSettings const one{Shape{1, 19, 4, 4}, {16, 16}};
  use(one, labels_of(one));
  // Products of up to 2 and 2^9: between two pixels the largest class loses hundreds.
  Case const settings{.seed = 3, .terms = one.labels(), .gain = 64, .scale = 512};
  NamedValues const state = draw_state<FusedLoss>(settings, Draw::coarse);
  Outcome const oracle = run<TwoOps, Fp64, Cpu>(settings, state);
  check_against_oracle<FusedLoss, Fp32, TestBackend>(settings, state, oracle);
  check_against_oracle<FusedLoss, Amp<float16>, TestBackend>(settings, state, oracle);
}

TEST_CASE("cross-entropy of a resize repeats its bits") {
  for (SegmentationSettings const& one : segmentations) {
    use(one, labels_of(one));
    Case const settings{.seed = 4};
    auto const state = draw_state<FusedLoss>(settings, Draw::smooth);
    Outcome const first = run<FusedLoss, Amp<float16>, TestBackend>(settings, state);
    Outcome const second = run<FusedLoss, Amp<float16>, TestBackend>(settings, state);
    CHECK(first.output == second.output);
    CHECK(first.gradients == second.gradients);
  }
}

TEST_CASE("cross-entropy of a resize is NaN where every pixel is ignored, and its gradient is 0") {
  SegmentationSettings const one{Shape{2, 19, 4, 5}, {16, 20}};
  use(one, Values(static_cast<std::size_t>(one.labels()), -100));
  Case const settings{.seed = 5};
  auto const state = draw_state<FusedLoss>(settings, Draw::smooth);
  Outcome const outcome = run<FusedLoss, Amp<float16>, TestBackend>(settings, state);
  CHECK(std::isnan(outcome.output[0]));
  CHECK(largest(outcome.gradients[0].second) == 0);
}

TEST_CASE("cross-entropy of a resize refuses labels of other extents with both values") {
  use(segmentations[0], labels_of(segmentations[0]));
  Model<FusedLoss, Fp32, TestBackend> model{1};
  auto& session = model.session();
  session.begin_step();
  auto const logits = tensor_of<float>(session, Shape{1, 2, 2, 2}, Values(8, 0.5));
  Value<TestBackend, float, 4, dynamic_channels, Fp32> const x(session, logits, {}, {});
  auto const message = [&](Shape<3> extents, ResizeSize size) {
    auto const target = session.template allocate<std::int32_t>(extents);
    try {
      cross_entropy(resize(x, size), target);
    } catch (Error const& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  CHECK(message(Shape{1, 8, 9}, {8, 8}).find("extents of labels and logits do not fit: expected 8, received 9") !=
        std::string::npos);
  CHECK(message(Shape{3, 8, 8}, {8, 8})
            .find("images of labels and logits do not fit: expected 1, received 3. Give labels for each image of the "
                  "batch.") != std::string::npos);
  CHECK(message(Shape{1, 8, 8}, {8, 0}).find("resized width (at least 1) do not fit: expected 1, received 0") !=
        std::string::npos);
}

TEST_CASE("a policy that moves the resize to another class keeps the two ops apart") {
  using Policy = With<Amp<float16>, Run<ops::Resize, FollowOp>>;
  use(segmentations[0], labels_of(segmentations[0]));
  Case const settings{.seed = 6};
  auto const rows = run<FusedLoss, Policy, TestBackend>(settings, draw_state<FusedLoss>(settings, Draw::coarse)).rows;
  CHECK(count_rows(rows, "resize") == 1);
  CHECK(count_rows(rows, "cross_entropy") == 1);
}

}  // namespace
}  // namespace mixprec::test
