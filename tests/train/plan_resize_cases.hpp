// SPDX-License-Identifier: Apache-2.0
// A segmentation loss at label resolution in the plan: its rows and its peak are those of a run, and no tensor of the
// labels' resolution has channels.
#pragma once

#include "plan_cases.hpp"

namespace mixprec::test {

struct SegmentationNet {
  nn::Conv2d<3, 8, 3, nn::Conv2dOptions{.stride = 4, .padding = 1, .bias = false}> stem;
  nn::BatchNorm2d<8> bn;
  nn::Conv2d<8, 21, 1> head;
  MIXPREC_MODULE(stem, bn, head)

  constexpr auto operator()(auto const& x) const { return head(relu(bn(stem(x)))); }
};
inline constexpr Shape segmentation_input{2, 3, 32, 48};
inline constexpr int segmentation_classes = 21;

struct SegmentationLoss {
  template <class Net, class X>
  constexpr auto operator()(Net const& net, X const& x) const {
    Shape<4> const extents = x.shape();
    return (*this)(net, x, Tensor<Meta, std::int32_t, 3>(Shape{extents[0], extents[2], extents[3]}));
  }
  constexpr auto operator()(auto& net, auto const& image, auto const& label) const {
    return cross_entropy(resize(net(image), {label.shape()[1], label.shape()[2]}), label);
  }
  static constexpr std::int64_t input_bytes(Shape<4> x) { return 4 * x[0] * x[2] * x[3]; }
};

template <class Policy>
inline constexpr auto const& segmentation_plan =
    plan<SegmentationNet, Policy, segmentation_input, PlanOptions{}, SegmentationLoss>;

// float16 logits and one float a label, not the 21 channels of the labels' resolution.
static_assert(segmentation_plan<Amp<float16>>.row[segmentation_plan<Amp<float16>>.rows() - 1].kept_bytes ==
              2 * (2 * 21 * 8 * 12) + 4 * (2 * 32 * 48) + 4);
static_assert(segmentation_plan<Amp<float16>>.memory.kept + segmentation_plan<Amp<float16>>.memory.transient <
              2 * (2 * 21 * 32 * 48));

struct SegmentationBatch {
  std::vector<float> image;
  std::vector<std::int32_t> label;
  Shape<4> shape = segmentation_input;
  Shape<3> extents{{segmentation_input[0], segmentation_input[2], segmentation_input[3]}};

  SegmentationBatch() {
    std::mt19937 generator(1);
    for (double const value : draw(generator, static_cast<std::size_t>(shape.size()), Draw::coarse))
      image.push_back(static_cast<float>(value));
    for (std::int64_t at = 0; at < extents.size(); ++at)
      label.push_back(at % 5 == 0 ? -100 : static_cast<std::int32_t>(at % segmentation_classes));
  }
};

TEST_CASE("a loss at label resolution: a recorded run has the plan's rows under every policy") {
  SegmentationBatch const batch;
  for_each_policy([&]<class Policy>() {
    constexpr auto const& expected = segmentation_plan<Policy>;
    Model<SegmentationNet, Policy, TestBackend> model{1};
    auto& session = model.session();
    auto const image = model.template tensor<float>(batch.shape);
    auto const label = model.template tensor<std::int32_t>(batch.extents);
    copy_from_host(model.stream(), image, batch.image.data(), batch.image.size());
    copy_from_host(model.stream(), label, batch.label.data(), batch.label.size());
    session.begin_step();
    session.start_recording();
    { auto const loss = SegmentationLoss{}(model, image, label); }
    std::vector<PlanRow> const rows = session.stop_recording();
    REQUIRE(rows.size() == static_cast<std::size_t>(expected.rows()));
    for (std::size_t at = 0; at < rows.size(); ++at) {
      CHECK(same_row(rows[at], expected.row[at]));
      CHECK_EQ(text_of(rows[at], session.path_of(rows[at].place, rows[at].op)),
               text_of(expected.row[at], std::string(expected.path_of(expected.row[at]).view())));
    }
    CHECK(std::string(rows.back().op) == "resize+cross_entropy");
  });
}

TEST_CASE("a loss at label resolution: a training step's peak is the plan's within one per cent under every policy") {
  SegmentationBatch const batch;
  for_each_policy([&]<class Policy>() {
    HostTensor<float, 4> const image{batch.image.data(), batch.shape};
    HostTensor<std::int32_t, 3> const label{batch.label.data(), batch.extents};
    check_peak_of<SegmentationNet, Policy, TestBackend>(segmentation_plan<Policy>.peak_bytes(), SegmentationLoss{},
                                                        image, label);
  });
}

}  // namespace mixprec::test
