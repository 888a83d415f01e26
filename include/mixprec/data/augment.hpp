// SPDX-License-Identifier: Apache-2.0
// The augmentation that mmsegmentation trains with: random scale, crop, flip and photometric distortion. All arithmetic
// is in integers, so that an augmented image is the same on every platform.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>

#include <mixprec/data/counter_random.hpp>
#include <mixprec/data/image.hpp>
#include <mixprec/data/resample.hpp>
#include <mixprec/data/segmentation.hpp>

namespace mixprec::inline MIXPREC_ABI {

/// Both ends included.
struct AugmentationRange {
  double low = 0, high = 0;
};

/// mmsegmentation's pipeline; the default values are its own.
struct Augmentation {
  ImageExtent crop;      ///< of what comes out; smaller images are padded to it
  ImageExtent fit = {};  ///< the image is first scaled to fit in here, long side along long side; empty: it stays as is
  AugmentationRange ratio{0.5, 2.0};       ///< and then by a factor from here (RandomResize's ratio_range)
  double cat_max_ratio = 0.75;             ///< no class may have this share of a crop, where one of ten tries allows it
  double flip = 0.5;                       ///< share of images that are mirrored
  bool photometric = true;                 ///< the four below, each on half of the images
  double brightness_delta = 32;            ///< up to this much is added or taken, of 255
  AugmentationRange contrast{0.5, 1.5};    ///< factors of pixel values
  AugmentationRange saturation{0.5, 1.5};  ///< factors of HSV's S
  int hue_delta = 18;                      ///< in steps of two degrees, as in OpenCV's 8-bit HSV
};

/// Throws where a field is out of its range, with its value.
inline void validate(Augmentation const& options) {
  auto const require = [](bool good, std::string const& what, auto value, char const* remedy) {
    if (!good) throw Error("augmentation: " + what + " is " + std::to_string(value) + ". " + remedy + ".");
  };
  auto const require_range = [&](AugmentationRange range, std::string const& name, double low) {
    require(range.low >= low, name + ".low", range.low, "It is too small");
    require(range.high >= range.low && range.high <= 16, name + ".high", range.high, "Give low to 16");
  };
  require(options.crop.height > 0, "crop.height", options.crop.height, "Give the height of the training images");
  require(options.crop.width > 0, "crop.width", options.crop.width, "Give the width of the training images");
  require(options.crop.pixels() <= image_pixel_limit, "crop's number of pixels", options.crop.pixels(), "Give fewer");
  require(options.fit == ImageExtent{} || std::min(options.fit.height, options.fit.width) > 0, "fit's smaller side",
          std::min(options.fit.height, options.fit.width), "Give both sides or neither");
  require_range(options.ratio, "ratio", 1.0 / 16);
  require_range(options.contrast, "contrast", 0);
  require_range(options.saturation, "saturation", 0);
  require(options.cat_max_ratio > 0, "cat_max_ratio", options.cat_max_ratio, "Give more than 0; 1 allows every crop");
  require(options.flip >= 0 && options.flip <= 1, "flip", options.flip, "Give 0 to 1");
  require(options.brightness_delta >= 0 && options.brightness_delta <= 255, "brightness_delta",
          options.brightness_delta, "Give 0 to 255");
  require(options.hue_delta >= 0 && options.hue_delta <= 90, "hue_delta", options.hue_delta, "Give 0 to 90");
}

namespace detail {

// Real numbers are integers in 1/65536.
inline constexpr std::int64_t augment_one = 65536;

inline std::int64_t augment_fixed(double value) { return std::llround(value * static_cast<double>(augment_one)); }

inline std::int64_t random_in(AugmentationRange range, CounterRandom& random) {
  std::int64_t const low = augment_fixed(range.low), high = augment_fixed(range.high);
  return low + static_cast<std::int64_t>(random.below(static_cast<std::uint64_t>(high - low + 1)));
}

// `extent` times the ratio, or as large as fits into `fit` times the ratio.
inline ImageExtent scaled_extent(ImageExtent extent, ImageExtent fit, std::int64_t ratio) {
  std::int64_t numerator = ratio, denominator = augment_one;
  if (fit != ImageExtent{}) {
    std::int64_t const long_limit = std::max(fit.height, fit.width) * ratio / augment_one;
    std::int64_t const short_limit = std::min(fit.height, fit.width) * ratio / augment_one;
    std::int64_t const long_side = std::max(extent.height, extent.width);
    std::int64_t const short_side = std::min(extent.height, extent.width);
    bool const long_decides = long_limit * short_side <= short_limit * long_side;
    numerator = long_decides ? long_limit : short_limit;
    denominator = long_decides ? long_side : short_side;
  }
  auto const scaled = [&](std::int64_t side) {
    return static_cast<int>(std::max<std::int64_t>((2 * side * numerator + denominator) / (2 * denominator), 1));
  };
  return {scaled(extent.height), scaled(extent.width)};
}

// Whether the window of the scaled map shows two classes or more, the largest with less than its allowed share.
inline bool is_mixed(LabelMap const& labels, ImageExtent scaled, ImageWindow window, double cat_max_ratio) {
  std::array<std::int64_t, 256> counts{};
  for (auto const label : resized(labels, scaled, window).values) ++counts[label];
  counts[ignored_label] = 0;
  std::int64_t total = 0, largest = 0;
  for (auto const count : counts) total += count, largest = std::max(largest, count);
  return largest < total && largest * augment_one < augment_fixed(cat_max_ratio) * total;
}

inline ImageWindow random_window(LabelMap const& labels, ImageExtent scaled, Augmentation const& options,
                                 CounterRandom& random) {
  int const height = std::min(options.crop.height, scaled.height), width = std::min(options.crop.width, scaled.width);
  auto const anywhere = [&] {
    int const top = random.between(0, scaled.height - height);
    return ImageWindow{top, random.between(0, scaled.width - width), height, width};
  };
  ImageWindow window = anywhere();
  if (options.cat_max_ratio >= 1) return window;
  for (int attempt = 0; attempt < 10 && !is_mixed(labels, scaled, window, options.cat_max_ratio); ++attempt) {
    window = anywhere();
  }
  return window;
}

// Every value times `factor` plus `offset`, both in 1/65536, between 0 and 255.
inline void scale_values(Image& image, std::int64_t factor, std::int64_t offset) {
  std::array<std::uint8_t, 256> table;
  for (int x = 0; x < 256; ++x) {
    std::int64_t const value = (x * factor + offset + augment_one / 2) >> 16;
    table[static_cast<std::size_t>(x)] = static_cast<std::uint8_t>(std::clamp<std::int64_t>(value, 0, 255));
  }
  for (auto& value : image.pixels) value = table[value];
}

// HSV's saturation times `saturation` (in 1/65536, at most the full one) and its hue turned by `hue` times two degrees,
// with the value kept. Chroma, which is saturation times value, keeps the division by the value out.
inline void change_colours(Image& image, std::int64_t saturation, int hue) {
  constexpr int sixth = 4096;  // of the colour circle
  int const turn = hue * 6 * sixth / 180;
  for (std::size_t i = 0; i + 2 < image.pixels.size(); i += 3) {
    std::uint8_t* const pixel = &image.pixels[i];
    int const red = pixel[0], green = pixel[1], blue = pixel[2];
    int const value = std::max({red, green, blue}), chroma = value - std::min({red, green, blue});
    if (chroma == 0) continue;
    int angle = value == red     ? (green - blue) * sixth / chroma
                : value == green ? 2 * sixth + (blue - red) * sixth / chroma
                                 : 4 * sixth + (red - green) * sixth / chroma;
    angle = (angle + turn + 12 * sixth) % (6 * sixth);
    std::int64_t const full = value * augment_one, reduced = std::min(chroma * saturation, full);
    for (int c = 0; c < 3; ++c) {
      int const from = (angle + (5 - 2 * c) * sixth) % (6 * sixth);
      std::int64_t const share = std::clamp(std::min(from, 4 * sixth - from), 0, sixth);
      pixel[c] = static_cast<std::uint8_t>((full - reduced * share / sixth + augment_one / 2) >> 16);
    }
  }
}

inline void distort_photometrically(Image& image, Augmentation const& options, CounterRandom& random) {
  auto const heads = [&] { return random.below(2) == 1; };
  auto const change_contrast = [&] {
    if (heads()) scale_values(image, random_in(options.contrast, random), 0);
  };
  double const delta = options.brightness_delta;
  if (heads()) scale_values(image, augment_one, random_in({-delta, delta}, random));
  bool const contrast_first = heads();
  if (contrast_first) change_contrast();
  std::int64_t const saturation = heads() ? random_in(options.saturation, random) : augment_one;
  int const hue = heads() ? random.between(-options.hue_delta, options.hue_delta) : 0;
  if (saturation != augment_one || hue != 0) change_colours(image, saturation, hue);
  if (!contrast_first) change_contrast();
}

}  // namespace detail

/// One pass of the pipeline over an RGB image and its labels: at most `options.crop` large, not yet padded. A pure
/// function of the sample, the options and the random sequence. `options` must be valid.
inline SegmentationSample augmented(SegmentationSample const& sample, Augmentation const& options,
                                    CounterRandom random) {
  std::int64_t const ratio = detail::random_in(options.ratio, random);
  ImageExtent const scaled = detail::scaled_extent(sample.image.extent(), options.fit, ratio);
  ImageWindow const window = detail::random_window(sample.labels, scaled, options, random);
  // Only the window is ever computed.
  SegmentationSample result{resized(sample.image, scaled, window), resized(sample.labels, scaled, window)};
  if (static_cast<std::int64_t>(random.below(detail::augment_one)) < detail::augment_fixed(options.flip)) {
    mirror(result.image);
    mirror(result.labels);
  }
  if (options.photometric) detail::distort_photometrically(result.image, options, random);
  return result;
}

}  // namespace mixprec::inline MIXPREC_ABI
