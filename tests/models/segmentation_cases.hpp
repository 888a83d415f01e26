// SPDX-License-Identifier: Apache-2.0
// FCN, PSPNet, DeepLabV3 and DeepLabV3+ at a small width: plan against run, and that steps learn.
#pragma once

#include <mixprec/models/deeplabv3plus.hpp>

#include "segmentation_run.hpp"

namespace mixprec::test {

template <class Net, class Policy, class B>
void check_segmentation() {
  check_segmentation_rows<Net, Policy, B>();
  SegmentationBatch const batch;
  std::vector<double> const losses = segmentation_losses<Net, Policy, B>(batch, 46);
  // The auxiliary head sees no more. After 45 steps the slowest of the four is at about half of this.
  double const blind = (1 + models::SegmentationLoss::auxiliary_weight) * batch.blind_loss();
  CHECK(losses.front() > blind);
  CHECK_MESSAGE(losses.back() < blind, "a loss of " << losses.back() << "; without the images it can be " << blind);
}

template <template <class, int, int> class Segmenter, class B>
void check_segmenter() {
  using Net = Segmenter<SmallBackbone, segmentation_classes, 16>;
  check_segmentation<Net, Fp32, B>();
  check_segmentation<Net, Amp<bfloat16>, B>();
}

TEST_CASE("FCN has the plan's rows and learns") { check_segmenter<models::Fcn, TestBackend>(); }
TEST_CASE("PSPNet has the plan's rows and learns") { check_segmenter<models::PspNet, TestBackend>(); }
TEST_CASE("DeepLabV3 has the plan's rows and learns") { check_segmenter<models::DeepLabV3, TestBackend>(); }
TEST_CASE("DeepLabV3+ has the plan's rows and learns") { check_segmenter<models::DeepLabV3Plus, TestBackend>(); }

TEST_CASE("labels of other extents than the images' are refused with both values") {
  Model<models::Fcn<SmallBackbone, segmentation_classes, 16>, Fp32, TestBackend> model{1};
  auto const image = model.template tensor<float>(segmentation_input);
  SegmentationBatch const batch;
  copy_from_host(model.stream(), image, batch.image.data(), batch.image.size());
  auto const refused = [&](std::int64_t height, std::int64_t width, char const* message) {
    auto const label = model.template tensor<std::int32_t>(Shape{segmentation_input[0], height, width});
    CHECK_THROWS_WITH_AS(models::SegmentationLoss{}(model, image, label), message, Error);
  };
  refused(48, 48,
          "mixprec: decode_head.cross_entropy: height of the labels do not fit: expected 64, received 48. Give labels "
          "of the images' height and width.");
  refused(64, 64,
          "mixprec: decode_head.cross_entropy: width of the labels do not fit: expected 48, received 64. Give labels "
          "of the images' height and width.");
}

}  // namespace mixprec::test
