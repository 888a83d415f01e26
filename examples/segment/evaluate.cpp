// SPDX-License-Identifier: Apache-2.0
// Views of an image, their mean, and the confusion matrix of what comes out.
#include "evaluate.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>

#include <mixprec/data/normalizer.hpp>
#include <mixprec/data/resample.hpp>
#include <mixprec/data/sliding_window.hpp>
#include <mixprec/train/metrics.hpp>

namespace segment {
namespace {

namespace mp = mixprec;

std::vector<float> normalized(mp::Image const& image, mp::Normalizer const& normalizer) {
  std::vector<float> values(image.pixels.size());
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = normalizer(image.pixels[i], static_cast<int>(i % 3));
  return values;
}

// Logits of the whole image, or the mean over windows of the crop's extent, two thirds of it apart.
std::vector<float> logits_of(Segmenter& network, std::span<float const> image, mp::ImageExtent extent,
                             Settings const& settings) {
  if (!settings.slide) return network.logits(image, extent);
  mp::ImageExtent const stride{std::max(1, settings.crop.height * 2 / 3), std::max(1, settings.crop.width * 2 / 3)};
  mp::WindowMean mean(extent, network.outputs());
  for (mp::ImageWindow const& window : mp::sliding_windows(extent, settings.crop, stride)) {
    auto const part = mp::cut_window(image, extent, 3, window);
    mean.add(window, std::span<float const>(network.logits(part, window.extent())));
  }
  return mean.mean();
}

void softmax(std::span<float> logits, int classes) {
  for (auto row = logits.begin(); row != logits.end(); row += classes) {
    float const most = *std::max_element(row, row + classes);
    float sum = 0;
    for (auto value = row; value != row + classes; ++value) sum += * value = std::exp(*value - most);
    for (auto value = row; value != row + classes; ++value) *value /= sum;
  }
}

// The sum of the views' probabilities at the image's own resolution.
std::vector<float> scores_of(Segmenter& network, mp::Image const& image, mp::Normalizer const& normalizer,
                             Settings const& settings) {
  int const classes = network.outputs();
  mp::ImageExtent const extent = image.extent();
  std::vector<float> scores(extent.pixels() * static_cast<std::size_t>(classes));
  for (double const scale : {0.75, 1.0, 1.25}) {
    mp::ImageExtent const scaled{std::max(1, static_cast<int>(std::lround(extent.height * scale))),
                                 std::max(1, static_cast<int>(std::lround(extent.width * scale)))};
    for (bool const flipped : {false, true}) {
      mp::Image view = mp::resized(image, scaled);
      if (flipped) mp::mirror(view);
      std::vector<float> logits = logits_of(network, normalized(view, normalizer), scaled, settings);
      if (scaled != extent) logits = mp::resized(std::span<float const>(logits), scaled, classes, extent);
      softmax(logits, classes);
      if (flipped) mp::mirror(logits, extent, classes);
      for (std::size_t i = 0; i < scores.size(); ++i) scores[i] += logits[i];
    }
  }
  return scores;
}

std::vector<std::int32_t> predict(Segmenter& network, mp::Image const& image, mp::Normalizer const& normalizer,
                                  Settings const& settings) {
  if (settings.test_scales) {
    return mp::predicted_classes(std::span<float const>(scores_of(network, image, normalizer, settings)),
                                 network.outputs());
  }
  std::vector<float> const input = normalized(image, normalizer);
  if (!settings.slide) return network.classes(input, image.extent());
  return mp::predicted_classes(std::span<float const>(logits_of(network, input, image.extent(), settings)),
                               network.outputs());
}

// Of the data set's classes: outputs beyond them are only ever wrong predictions.
double mean(std::vector<double> const& values) {
  double sum = 0;
  int count = 0;
  for (double const value : values)
    if (!std::isnan(value)) sum += value, ++count;
  return count > 0 ? sum / count : std::numeric_limits<double>::quiet_NaN();
}

}  // namespace

Evaluation evaluate(Segmenter& network, DataSet const& data, mp::ChannelStatistics const& normalization,
                    Settings const& settings, std::vector<mp::LabelMap>* samples) {
  auto const begun = std::chrono::steady_clock::now();
  mp::Normalizer const normalizer(normalization, 3);
  mp::ConfusionMatrix matrix(network.outputs());
  for (std::int64_t i = 0; i < data.val.size(); ++i) {
    mp::SegmentationSample const& sample = data.val.load(i);
    std::vector<std::int32_t> const classes = predict(network, sample.image, normalizer, settings);
    matrix.update(std::span(classes), std::span(sample.labels.values));
    if (samples != nullptr && i < shown_samples)
      samples->push_back({sample.image.height, sample.image.width, {classes.begin(), classes.end()}});
  }
  Evaluation result;
  result.accuracy = matrix.accuracy();
  std::vector<double> class_accuracy = matrix.class_accuracy();
  result.class_iou = matrix.class_iou();
  class_accuracy.resize(data.class_names.size());
  result.class_iou.resize(data.class_names.size());
  result.mean_iou = mean(result.class_iou);
  result.mean_accuracy = mean(class_accuracy);
  for (int label = 0; label < network.outputs(); ++label)
    for (int prediction = 0; prediction < network.outputs(); ++prediction)
      result.confusion.push_back(matrix.count(label, prediction));
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begun).count();
  return result;
}

}  // namespace segment
