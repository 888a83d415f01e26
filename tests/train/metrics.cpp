// SPDX-License-Identifier: Apache-2.0
// The confusion matrix against counting pixels class by class.
#include <doctest/doctest.h>

#include <cmath>
#include <random>
#include <string>
#include <vector>

#include <mixprec/dtype/float16.hpp>
#include <mixprec/train/metrics.hpp>

#include "../has.hpp"
#include "../io/temporary_directory.hpp"

namespace mp = mixprec;
using mp::test::has;

namespace {

bool same(double a, double b) { return std::isnan(a) ? std::isnan(b) : std::abs(a - b) <= 1e-14; }

}  // namespace

TEST_CASE("metrics: IoU, accuracies and their means are those of counting pixels") {
  std::mt19937 random(20250117);
  for (int round = 0; round < 50; ++round) {
    int const classes = 1 + round % 7, used = 1 + static_cast<int>(random() % static_cast<unsigned>(classes));
    std::vector<std::int32_t> predictions;
    std::vector<std::uint8_t> labels;
    for (int i = 0; i < 200; ++i) {
      predictions.push_back(static_cast<std::int32_t>(random() % static_cast<unsigned>(used)));
      labels.push_back(random() % 5 == 0 ? 255 : static_cast<std::uint8_t>(random() % static_cast<unsigned>(used)));
      if (random() % 2 == 0 && labels.back() != 255) predictions.back() = labels.back();
    }
    mp::ConfusionMatrix matrix(classes);
    matrix.update<std::int32_t, std::uint8_t>(predictions, labels);

    double correct = 0, counted = 0, iou_sum = 0, iou_count = 0, accuracy_sum = 0, accuracy_count = 0;
    for (std::size_t i = 0; i < labels.size(); ++i) {
      if (labels[i] == 255) continue;
      ++counted;
      correct += predictions[i] == labels[i] ? 1 : 0;
    }
    CHECK(same(matrix.accuracy(), correct / counted));
    auto const iou = matrix.class_iou(), accuracy = matrix.class_accuracy();
    for (int c = 0; c < classes; ++c) {
      double intersection = 0, either = 0, labelled = 0;
      for (std::size_t i = 0; i < labels.size(); ++i) {
        if (labels[i] == 255) continue;
        intersection += predictions[i] == c && labels[i] == c ? 1 : 0;
        either += predictions[i] == c || labels[i] == c ? 1 : 0;
        labelled += labels[i] == c ? 1 : 0;
      }
      CHECK(same(iou[static_cast<std::size_t>(c)], intersection / either));
      CHECK(same(accuracy[static_cast<std::size_t>(c)], intersection / labelled));
      if (either > 0) iou_sum += intersection / either, ++iou_count;
      if (labelled > 0) accuracy_sum += intersection / labelled, ++accuracy_count;
    }
    CHECK(same(matrix.mean_iou(), iou_sum / iou_count));
    CHECK(same(matrix.mean_accuracy(), accuracy_sum / accuracy_count));
  }
}

TEST_CASE("metrics: classes that are absent are left out of means, and nothing at all is NaN") {
  mp::ConfusionMatrix matrix(4);
  CHECK(std::isnan(matrix.accuracy()));
  CHECK(std::isnan(matrix.mean_iou()));
  // Class 2 is predicted and never labelled: its IoU is 0 and counts, its accuracy is NaN and does not.
  matrix.update<int, int>(std::vector{0, 0, 1, 2, 3}, std::vector{0, 0, 1, 1, 255});
  CHECK(matrix.class_iou()[2] == 0);
  CHECK(std::isnan(matrix.class_accuracy()[2]));
  CHECK(std::isnan(matrix.class_iou()[3]));
  CHECK(same(matrix.mean_iou(), (1 + 0.5 + 0) / 3));
  CHECK(same(matrix.mean_accuracy(), (1 + 0.5) / 2));
  CHECK(same(matrix.accuracy(), 0.75));
  CHECK(matrix.count(1, 2) == 1);
  CHECK(matrix.count(2, 1) == 0);
}

TEST_CASE("metrics: updates and sums of matrices add up, with any ignored label") {
  std::vector<int> const predictions{0, 1, 2, 2, 1, 0}, labels{0, 1, 1, -1, 2, -1};
  mp::ConfusionMatrix whole(3, -1), first(3, -1), second(3, -1);
  whole.update<int, int>(predictions, labels);
  first.update(std::span(predictions).first(2), std::span(labels).first(2));
  second.update(std::span(predictions).subspan(2), std::span(labels).subspan(2));
  first += second;
  for (int label = 0; label < 3; ++label) {
    for (int prediction = 0; prediction < 3; ++prediction) {
      CHECK(first.count(label, prediction) == whole.count(label, prediction));
    }
  }
}

TEST_CASE("metrics: what is no class is refused with its place, and nothing is counted then") {
  mp::ConfusionMatrix matrix(3);
  auto const problem = [&](std::vector<int> const& predictions, std::vector<int> const& labels) {
    return message_of<mp::Error>([&] { matrix.update<int, int>(predictions, labels); });
  };
  CHECK(has(problem({0, 1}, {0}), "2 predictions for 1 labels"));
  CHECK(has(problem({0, 1}, {0, 3}), "label 1 is 3 of 3 classes"));
  CHECK(has(problem({0, 1}, {0, -1}), "label 1 is -1"));
  CHECK(has(problem({0, 3}, {0, 1}), "prediction 1 is 3"));
  CHECK(problem({3}, {255}).empty());
  CHECK(std::isnan(matrix.accuracy()));
  CHECK(has(message_of<mp::Error>([&] { matrix += mp::ConfusionMatrix(4); }), "4 classes added to 3"));
  CHECK(has(message_of<mp::Error>([&] { mp::ConfusionMatrix(0); }), "0 classes"));
}

TEST_CASE("metrics: the predicted class is the first of the largest logits, also of halves") {
  std::vector<float> const logits{0, 2, 1, 5, 5, -1, -3, -2, -1};
  std::vector<mp::float16> const halves(logits.begin(), logits.end());
  CHECK(mp::predicted_classes<float>(logits, 3) == std::vector<std::int32_t>{1, 0, 2});
  CHECK(mp::predicted_classes<mp::float16>(halves, 3) == std::vector<std::int32_t>{1, 0, 2});
  CHECK(has(message_of<mp::Error>([&] { mp::predicted_classes<float>(logits, 2); }), "9 logits of 2 classes"));
}
