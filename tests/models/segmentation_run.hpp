// SPDX-License-Identifier: Apache-2.0
// Segmentation models on one small batch: the plan's rows against a recorded run, and the losses of training steps.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>

#include <mixprec/models/segmentation.hpp>

#include "train/plan_cases.hpp"

namespace mixprec::test {

inline constexpr models::ResNetOptions small_backbone{.width = 8, .deep_stem = true, .output_stride = 8};
using SmallBackbone = models::ResNetBackbone<18, small_backbone>;
inline constexpr Shape segmentation_input{2, 3, 64, 48};
inline constexpr Shape segmentation_labels{segmentation_input[0], segmentation_input[2], segmentation_input[3]};
inline constexpr int segmentation_classes = 5;

/// Two images, and labels that follow from them: the class is a pixel's brightness, in five bands, and 255 where a
/// pixel is not to count. The images differ everywhere, so that a pixel's place says less than its colour.
struct SegmentationBatch {
  std::vector<float> image;
  std::vector<std::int32_t> label;

  SegmentationBatch() {
    std::mt19937 generator(5);
    std::uniform_real_distribution<float> noise(-0.2f, 0.2f);
    auto const [n, c, h, w] =
        std::tuple{segmentation_input[0], segmentation_input[1], segmentation_input[2], segmentation_input[3]};
    for (std::int64_t pixel = 0; pixel < n * h * w; ++pixel) {
      std::int32_t const kind =
          static_cast<std::int32_t>(pixel / (h * w) + pixel / w % h / 16 + pixel % w / 24) % segmentation_classes;
      for (std::int64_t channel = 0; channel < c; ++channel)
        image.push_back(static_cast<float>(kind) * 0.5f - 1.0f + noise(generator));
      label.push_back(pixel % 13 == 0 ? 255 : kind);
    }
  }

  /// The least cross-entropy of a prediction that knows each pixel's place and all labels, and sees no image: the
  /// entropy of the labels at a place, its mean over all that count.
  double blind_loss() const {
    std::size_t const pixels = label.size() / static_cast<std::size_t>(segmentation_input[0]);
    double total = 0, counted = 0;
    for (std::size_t place = 0; place < pixels; ++place) {
      std::array<int, segmentation_classes> times{};
      int labels = 0;
      for (std::size_t at = place; at < label.size(); at += pixels)
        if (label[at] != models::SegmentationLoss::ignore_index) ++times[static_cast<std::size_t>(label[at])], ++labels;
      for (int const count : times)
        if (count > 0) total -= count * std::log(static_cast<double>(count) / labels);
      counted += labels;
    }
    return total / counted;
  }
};

/// Every row of a recorded forward pass with both losses equals the plan's row, and so do the paths.
template <class Net, class Policy, class B>
void check_segmentation_rows() {
  constexpr auto const& expected = plan<Net, Policy, segmentation_input, PlanOptions{}, models::SegmentationLoss>;
  SegmentationBatch const batch;
  Model<Net, Policy, B> model{1};
  auto const image = model.template tensor<float>(segmentation_input);
  auto const label = model.template tensor<std::int32_t>(segmentation_labels);
  copy_from_host(model.stream(), image, batch.image.data(), batch.image.size());
  copy_from_host(model.stream(), label, batch.label.data(), batch.label.size());
  model.session().begin_step();
  model.session().start_recording();
  { auto const loss = models::SegmentationLoss{}(model, image, label); }
  std::vector<PlanRow> const rows = model.session().stop_recording();
  CHECK_EQ(rows.size(), static_cast<std::size_t>(expected.rows()));
  for (std::size_t at = 0; at < std::min(rows.size(), static_cast<std::size_t>(expected.rows())); ++at)
    CHECK_EQ(text_of(rows[at], model.session().path_of(rows[at].place, rows[at].op)),
             text_of(expected.row[at], std::string(expected.path_of(expected.row[at]).view())));
}

/// The losses of `count` training steps.
template <class Net, class Policy, class B>
std::vector<double> segmentation_losses(SegmentationBatch const& batch, int count) {
  HostTensor<float, 4> const images{batch.image.data(), segmentation_input};
  HostTensor<std::int32_t, 3> const labels{batch.label.data(), segmentation_labels};
  Model<Net, Policy, B> model{1};
  Sgd opt{model, {.momentum = 0.9, .weight_decay = 5e-4}};
  Scaler<StaticScale<128>> const scaler;
  Step step{model, opt, scaler, Constant{.lr = 0.02}, models::SegmentationLoss{}};
  std::vector<double> losses;
  for (int index = 0; index < count; ++index) {
    step(images, labels);
    losses.push_back(step.loss());
  }
  CHECK(step.result().taken);
  return losses;
}

}  // namespace mixprec::test
