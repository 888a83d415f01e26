// SPDX-License-Identifier: Apache-2.0
// Sliding-window evaluation, as mmsegmentation's mode "slide": an image larger than the network's crop is covered by
// windows, and where they overlap their logits are averaged.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include <mixprec/data/image.hpp>

namespace mixprec::inline MIXPREC_ABI {

/// Windows that cover the image, row by row, `stride` apart; the last of a row or column is moved back to end with the
/// image. All have the crop's extent, or the image's along an axis where the image is smaller.
/// Errors: an extent that is not positive; a stride larger than the crop, which would leave gaps.
inline std::vector<ImageWindow> sliding_windows(ImageExtent image, ImageExtent crop, ImageExtent stride) {
  bool const positive = image.height > 0 && image.width > 0 && stride.height > 0 && stride.width > 0;
  if (!positive || stride.height > crop.height || stride.width > crop.width) {
    throw Error("sliding windows: image " + to_text(image) + ", crop " + to_text(crop) + ", stride " + to_text(stride) +
                ". Extents must be positive, and the stride at most the crop.");
  }
  auto const starts = [](int extent, int crop, int stride) {
    std::vector<int> result;
    int const last = std::max(extent - crop, 0);
    for (int start = 0; start < last; start += stride) result.push_back(start);
    result.push_back(last);
    return result;
  };
  std::vector<ImageWindow> windows;
  for (int const top : starts(image.height, crop.height, stride.height)) {
    for (int const left : starts(image.width, crop.width, stride.width)) {
      windows.push_back({top, left, std::min(crop.height, image.height), std::min(crop.width, image.width)});
    }
  }
  return windows;
}

/// A copy of the window of `values` (height, width, channels), dense. Errors: values that are not the extent's; a
/// window that is not inside.
template <class T>
std::vector<T> cut_window(std::span<T const> values, ImageExtent extent, int channels, ImageWindow window) {
  bool const inside = window.top >= 0 && window.left >= 0 && window.height > 0 && window.width > 0 &&
                      window.top <= extent.height - window.height && window.left <= extent.width - window.width;
  if (!inside || channels < 1 || values.size() != extent.pixels() * static_cast<std::size_t>(channels)) {
    throw Error("cut_window: " + to_text(window.extent()) + " from row " + std::to_string(window.top) + ", column " +
                std::to_string(window.left) + " of " + to_text(extent) + " pixels, " + std::to_string(channels) +
                " channels, " + std::to_string(values.size()) + " values. The window must lie inside.");
  }
  std::size_t const depth = static_cast<std::size_t>(channels), line = depth * static_cast<std::size_t>(extent.width);
  std::vector<T> out;
  out.reserve(window.extent().pixels() * depth);
  for (int row = window.top; row < window.top + window.height; ++row) {
    auto const begin = values.begin() + static_cast<std::ptrdiff_t>(static_cast<std::size_t>(row) * line +
                                                                    static_cast<std::size_t>(window.left) * depth);
    out.insert(out.end(), begin, begin + static_cast<std::ptrdiff_t>(static_cast<std::size_t>(window.width) * depth));
  }
  return out;
}

/// The mean of what windows say of an image: add every window's logits, then ask for the mean. Sums are float.
class WindowMean {
 public:
  WindowMean(ImageExtent image, int channels)
      : image_(image),
        channels_(static_cast<std::size_t>(channels)),
        sums_(image.pixels() * channels_),
        counts_(image.pixels()) {}

  /// `logits` is (window.height, window.width, channels), of float, float16 or bfloat16.
  /// Errors: another number of them; a window that is not inside the image.
  template <class T>
  void add(ImageWindow window, std::span<T const> logits) {
    bool const inside = window.top >= 0 && window.left >= 0 && window.top <= image_.height - window.height &&
                        window.left <= image_.width - window.width;
    if (!inside || logits.size() != window.extent().pixels() * channels_) {
      throw Error("window mean: " + std::to_string(logits.size()) + " logits of " + std::to_string(channels_) +
                  " channels for " + to_text(window.extent()) + " pixels from row " + std::to_string(window.top) +
                  ", column " + std::to_string(window.left) + " of " + to_text(image_) +
                  ". Give every channel of every pixel of a window inside the image.");
    }
    auto from = logits.begin();
    for (int row = window.top; row < window.top + window.height; ++row) {
      std::size_t const first = static_cast<std::size_t>(row) * static_cast<std::size_t>(image_.width) +
                                static_cast<std::size_t>(window.left);
      for (std::size_t pixel = first; pixel < first + static_cast<std::size_t>(window.width); ++pixel) {
        ++counts_[pixel];
        for (std::size_t c = 0; c < channels_; ++c) sums_[pixel * channels_ + c] += static_cast<float>(*from++);
      }
    }
  }

  /// (height, width, channels). Errors: a pixel that no window covers.
  std::vector<float> mean() const {
    std::vector<float> result(sums_);
    for (std::size_t pixel = 0; pixel < counts_.size(); ++pixel) {
      if (counts_[pixel] == 0) {
        throw Error("window mean: no window covers pixel " + std::to_string(pixel) + " of " + to_text(image_) +
                    ". Add all windows first.");
      }
      for (std::size_t c = 0; c < channels_; ++c) result[pixel * channels_ + c] /= static_cast<float>(counts_[pixel]);
    }
    return result;
  }

 private:
  ImageExtent image_;
  std::size_t channels_;
  std::vector<float> sums_;  // (height, width, channels)
  std::vector<int> counts_;  // (height, width)
};

}  // namespace mixprec::inline MIXPREC_ABI
