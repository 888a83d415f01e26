// SPDX-License-Identifier: Apache-2.0
// How good predictions are: the confusion matrix and what mmsegmentation reports from it. Host memory only.
#pragma once

#include <algorithm>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <numeric>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <mixprec/error.hpp>

namespace mixprec::inline MIXPREC_ABI {

/// The class with the largest of each row of logits (n, classes), the first one where several are.
/// Errors: logits that make no full rows.
template <class T>
std::vector<std::int32_t> predicted_classes(std::span<T const> logits, int classes) {
  if (classes < 1 || logits.size() % static_cast<std::size_t>(classes) != 0) {
    throw Error("predicted_classes: " + std::to_string(logits.size()) + " logits of " + std::to_string(classes) +
                " classes. Give a logit for every class of every row.");
  }
  std::vector<std::int32_t> result;
  result.reserve(logits.size() / static_cast<std::size_t>(classes));
  for (auto row = logits.begin(); row != logits.end(); row += classes) {
    auto const best = std::max_element(
        row, row + classes, [](T const& a, T const& b) { return static_cast<float>(a) < static_cast<float>(b); });
    result.push_back(static_cast<std::int32_t>(best - row));
  }
  return result;
}

/// Counts how often each class was taken for each: of pixels, or of images. All counts are exact.
class ConfusionMatrix {
 public:
  /// `ignored`: the label that does not count. Errors: fewer than one class.
  explicit ConfusionMatrix(int classes, std::int64_t ignored = 255) : classes_(classes), ignored_(ignored) {
    if (classes < 1) throw Error("confusion matrix: " + std::to_string(classes) + " classes. Give 1 or more.");
    counts_.resize(static_cast<std::size_t>(classes) * static_cast<std::size_t>(classes));
  }

  /// Counts every prediction whose label is not the ignored one. Errors, before anything is counted: different numbers
  /// of them; a label, or a prediction that counts, outside the classes, with its index.
  template <std::integral P, std::integral L>
  void update(std::span<P const> predictions, std::span<L const> labels) {
    if (predictions.size() != labels.size()) {
      throw Error("confusion matrix: " + std::to_string(predictions.size()) + " predictions for " +
                  std::to_string(labels.size()) + " labels. Give as many of one as of the other.");
    }
    for (std::size_t i = 0; i < labels.size(); ++i) {
      if (std::cmp_equal(labels[i], ignored_)) continue;
      require_class("label", i, labels[i]);
      require_class("prediction", i, predictions[i]);
    }
    for (std::size_t i = 0; i < labels.size(); ++i) {
      if (!std::cmp_equal(labels[i], ignored_)) ++counts_[index(labels[i], predictions[i])];
    }
  }

  /// Adds another one's counts. Errors: another number of classes.
  ConfusionMatrix& operator+=(ConfusionMatrix const& other) {
    if (other.classes_ != classes_) {
      throw Error("confusion matrix: " + std::to_string(other.classes_) + " classes added to " +
                  std::to_string(classes_) + ". Add matrices of the same classes.");
    }
    for (std::size_t i = 0; i < counts_.size(); ++i) counts_[i] += other.counts_[i];
    return *this;
  }

  int classes() const { return classes_; }
  /// How often `label` was taken for `prediction`.
  std::int64_t count(int label, int prediction) const { return counts_.at(index(label, prediction)); }

  /// Share of all counted predictions that are right (mmsegmentation's aAcc). NaN where nothing was counted.
  double accuracy() const {
    std::int64_t correct = 0;
    for (int c = 0; c < classes_; ++c) correct += count(c, c);
    return ratio(correct, std::accumulate(counts_.begin(), counts_.end(), std::int64_t{0}));
  }

  /// Intersection over union of each class; NaN for a class that neither labels nor predictions have.
  std::vector<double> class_iou() const {
    return each_class([&](int c) { return ratio(count(c, c), labelled(c) + predicted(c) - count(c, c)); });
  }

  /// Share of each class's labels that were predicted right; NaN for a class that no label has.
  std::vector<double> class_accuracy() const {
    return each_class([&](int c) { return ratio(count(c, c), labelled(c)); });
  }

  /// Mean over the classes that are not NaN (mIoU, mAcc); NaN where all are.
  double mean_iou() const { return mean(class_iou()); }
  double mean_accuracy() const { return mean(class_accuracy()); }

 private:
  template <std::integral T>
  void require_class(char const* what, std::size_t i, T value) const {
    if (!std::cmp_less(value, 0) && std::cmp_less(value, classes_)) return;
    throw Error("confusion matrix: " + std::string(what) + " " + std::to_string(i) + " is " + std::to_string(value) +
                " of " + std::to_string(classes_) + " classes. Classes count from 0.");
  }

  template <std::integral L, std::integral P>
  std::size_t index(L label, P prediction) const {
    return static_cast<std::size_t>(label) * static_cast<std::size_t>(classes_) + static_cast<std::size_t>(prediction);
  }
  std::int64_t labelled(int c) const {
    std::int64_t sum = 0;
    for (int other = 0; other < classes_; ++other) sum += count(c, other);
    return sum;
  }
  std::int64_t predicted(int c) const {
    std::int64_t sum = 0;
    for (int other = 0; other < classes_; ++other) sum += count(other, c);
    return sum;
  }

  static double ratio(std::int64_t part, std::int64_t whole) {
    return whole == 0 ? std::numeric_limits<double>::quiet_NaN()
                      : static_cast<double>(part) / static_cast<double>(whole);
  }
  template <class Value>
  std::vector<double> each_class(Value const& value) const {
    std::vector<double> values;
    for (int c = 0; c < classes_; ++c) values.push_back(value(c));
    return values;
  }
  static double mean(std::vector<double> const& values) {
    double sum = 0;
    std::int64_t count = 0;
    for (double const value : values) {
      if (!std::isnan(value)) sum += value, ++count;
    }
    return count == 0 ? std::numeric_limits<double>::quiet_NaN() : sum / static_cast<double>(count);
  }

  int classes_;
  std::int64_t ignored_;
  std::vector<std::int64_t> counts_;  // (label, prediction)
};

}  // namespace mixprec::inline MIXPREC_ABI
