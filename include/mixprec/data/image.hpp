// SPDX-License-Identifier: Apache-2.0
// Images, label maps and rectangles in host memory, as the file readers give them and the augmentation changes them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include <mixprec/error.hpp>

namespace mixprec::inline MIXPREC_ABI {

/// Height and width in pixels.
struct ImageExtent {
  int height = 0, width = 0;
  bool operator==(ImageExtent const&) const = default;
  std::size_t pixels() const { return static_cast<std::size_t>(height) * static_cast<std::size_t>(width); }
};

/// A rectangle of an image: rows [top, top + height), columns [left, left + width).
struct ImageWindow {
  int top = 0, left = 0, height = 0, width = 0;
  bool operator==(ImageWindow const&) const = default;
  ImageExtent extent() const { return {height, width}; }
};

/// The largest image that a reader takes. What a damaged header claims is allocated up to here and no further.
inline constexpr std::size_t image_pixel_limit = std::size_t{1} << 26;

/// An 8-bit image, grey (1 channel) or RGB (3 channels).
struct Image {
  int height = 0, width = 0, channels = 0;
  std::vector<std::uint8_t> pixels;  ///< (height, width, channels), dense

  ImageExtent extent() const { return {height, width}; }
};

/// The label of pixels that neither loss nor metrics count: what readers give for a set's own such label, and padding.
inline constexpr std::uint8_t ignored_label = 255;

/// One class for every pixel.
struct LabelMap {
  int height = 0, width = 0;
  std::vector<std::uint8_t> values;  ///< (height, width), dense

  ImageExtent extent() const { return {height, width}; }
};

/// "height x width" for messages.
inline std::string to_text(ImageExtent extent) {
  return std::to_string(extent.height) + "x" + std::to_string(extent.width);
}

/// The image with three equal channels where it was grey.
inline Image to_rgb(Image image) {
  if (image.channels == 3) return image;
  if (image.channels != 1) {
    throw Error("image: " + std::to_string(image.channels) + " channels. Only 1 and 3 become RGB.");
  }
  Image rgb{image.height, image.width, 3, {}};
  rgb.pixels.reserve(3 * image.pixels.size());
  for (auto const value : image.pixels) rgb.pixels.insert(rgb.pixels.end(), 3, value);
  return rgb;
}

}  // namespace mixprec::inline MIXPREC_ABI
