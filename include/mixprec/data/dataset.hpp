// SPDX-License-Identifier: Apache-2.0
// A labelled image data set in host memory: what readers produce and the loader consumes.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include <mixprec/error.hpp>

namespace mixprec::inline MIXPREC_ABI {

/// Labelled 8-bit images of one size.
struct ImageDataset {
  int classes = 0, channels = 0, height = 0, width = 0;
  std::vector<std::uint8_t> images;      ///< (N, height, width, channels), dense
  std::vector<std::uint8_t> labels;      ///< (N), each below `classes`
  std::vector<std::string> class_names;  ///< empty, or one for each class

  std::int64_t size() const { return static_cast<std::int64_t>(labels.size()); }
  std::size_t image_bytes() const {
    return static_cast<std::size_t>(channels) * static_cast<std::size_t>(height) * static_cast<std::size_t>(width);
  }
};

/// Throws unless extents, images, labels and names agree.
inline void validate(ImageDataset const& data) {
  auto const text = [](auto value) { return std::to_string(value); };
  if (data.classes < 1 || data.classes > 256 || data.channels < 1 || data.height < 1 || data.width < 1) {
    throw Error("image data set: " + text(data.classes) + " classes of " + text(data.height) + "x" + text(data.width) +
                "x" + text(data.channels) + " images. Extents must be positive, and classes at most 256.");
  }
  if (data.images.size() != data.labels.size() * data.image_bytes()) {
    throw Error("image data set: " + text(data.images.size()) + " image bytes for " + text(data.labels.size()) +
                " labels of " + text(data.image_bytes()) + " bytes each. Give every label its image.");
  }
  for (std::size_t i = 0; i < data.labels.size(); ++i) {
    if (data.labels[i] < data.classes) continue;
    throw Error("image data set: label " + text(i) + " is " + text(int{data.labels[i]}) + " of " + text(data.classes) +
                " classes. Labels count from 0.");
  }
  if (!data.class_names.empty() && data.class_names.size() != static_cast<std::size_t>(data.classes)) {
    throw Error("image data set: " + text(data.class_names.size()) + " class names for " + text(data.classes) +
                " classes. Name every class or none.");
  }
}

/// Mean and population standard deviation of x / 255, one of each for every channel.
struct ChannelStatistics {
  std::vector<double> mean, std;
};

/// Sums over pixels, exact in integers up to 2^48 pixels, from which mean and deviation follow.
class ChannelSums {
 public:
  explicit ChannelSums(int channels) : sums_(static_cast<std::size_t>(channels)) {}

  /// Adds pixels (n, channels).
  void add(std::span<std::uint8_t const> pixels) {
    std::size_t const channels = sums_.size();
    for (std::size_t c = 0; c < channels; ++c) {
      for (std::size_t i = c; i < pixels.size(); i += channels) {
        std::uint64_t const value = pixels[i];
        sums_[c].values += value;
        sums_[c].squares += value * value;
      }
    }
    count_ += pixels.size() / channels;
  }

  /// Errors: nothing was added. Precision: rounded in double.
  ChannelStatistics statistics() const {
    if (count_ == 0) throw Error("image data set: no images, so no mean. Read the data first.");
    ChannelStatistics result;
    auto const count = static_cast<double>(count_);
    for (Sums const& sum : sums_) {
      double const mean = static_cast<double>(sum.values) / count;
      double const variance = static_cast<double>(sum.squares) / count - mean * mean;
      result.mean.push_back(mean / 255);
      result.std.push_back(variance > 0 ? std::sqrt(variance) / 255 : 0);
    }
    return result;
  }

 private:
  struct Sums {
    std::uint64_t values = 0, squares = 0;
  };
  std::vector<Sums> sums_;
  std::size_t count_ = 0;
};

/// Precision: sums are exact integers; the result is rounded in double.
inline ChannelStatistics channel_statistics(ImageDataset const& data) {
  validate(data);
  ChannelSums sums(data.channels);
  sums.add(data.images);
  return sums.statistics();
}

}  // namespace mixprec::inline MIXPREC_ABI
