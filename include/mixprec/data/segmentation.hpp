// SPDX-License-Identifier: Apache-2.0
// What a data set of labelled pixels is: anything that gives its i-th image with a class for every pixel.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include <mixprec/data/dataset.hpp>
#include <mixprec/data/image.hpp>
#include <mixprec/data/parallel.hpp>

namespace mixprec::inline MIXPREC_ABI {

/// An RGB image and its label map, of one extent. Labels are below the set's number of classes, or `ignored_label`.
struct SegmentationSample {
  Image image;
  LabelMap labels;
};

/// Throws unless the sample is an RGB image with labels of its extent, below `classes` or ignored.
inline void validate(SegmentationSample const& sample, int classes) {
  auto const& [image, labels] = sample;
  std::size_t const pixels = image.extent().pixels();
  if (image.height < 1 || image.width < 1 || image.channels != 3 || image.pixels.size() != 3 * pixels ||
      labels.extent() != image.extent() || labels.values.size() != pixels) {
    throw Error("segmentation sample: " + std::to_string(image.pixels.size()) + " bytes of a " +
                to_text(image.extent()) + " image of " + std::to_string(image.channels) + " channels with " +
                std::to_string(labels.values.size()) + " labels, " + to_text(labels.extent()) +
                ". Give an RGB image and a label for every pixel.");
  }
  for (std::size_t i = 0; i < pixels; ++i) {
    int const label = labels.values[i];
    if (label < classes || label == ignored_label) continue;
    throw Error("segmentation sample: pixel " + std::to_string(i) + " has label " + std::to_string(label) + " of " +
                std::to_string(classes) + " classes. Labels count from 0, and 255 is ignored.");
  }
}

/// A segmentation data set: the number of its images, of its classes, and image `i` with its labels. `load` is called
/// by several threads at once, and gives the same sample for the same `i`.
template <class S>
concept SegmentationSource = requires(S const& source, std::int64_t i) {
  { source.size() } -> std::convertible_to<std::int64_t>;
  { source.classes() } -> std::convertible_to<int>;
  { source.load(i) } -> std::convertible_to<SegmentationSample>;
};

/// Samples that stay in host memory.
class SegmentationMemory {
 public:
  /// Errors: a sample that is not one, with what it is.
  SegmentationMemory(std::vector<SegmentationSample> samples, int classes)
      : samples_(std::move(samples)), classes_(classes) {
    for (auto const& sample : samples_) validate(sample, classes);
  }

  /// Reads a whole source on `workers` threads, so that epochs need not read files again.
  /// Errors: that of the first sample that cannot be read.
  explicit SegmentationMemory(SegmentationSource auto const& source, int workers = 1)
      : samples_(static_cast<std::size_t>(source.size())), classes_(source.classes()) {
    detail::for_each_index(samples_.size(), workers,
                           [&](std::size_t i) { samples_[i] = source.load(static_cast<std::int64_t>(i)); });
  }

  std::int64_t size() const { return static_cast<std::int64_t>(samples_.size()); }
  int classes() const { return classes_; }
  SegmentationSample const& load(std::int64_t i) const { return samples_.at(static_cast<std::size_t>(i)); }

 private:
  std::vector<SegmentationSample> samples_;
  int classes_;
};

/// Mean and population standard deviation of x / 255 over all pixels of the set, for red, green and blue.
/// Reads every image once. Precision: sums are exact integers; the result is rounded in double.
ChannelStatistics channel_statistics(SegmentationSource auto const& source) {
  ChannelSums sums(3);
  for (std::int64_t i = 0; i < source.size(); ++i) sums.add(source.load(i).image.pixels);
  return sums.statistics();
}

}  // namespace mixprec::inline MIXPREC_ABI
