// SPDX-License-Identifier: Apache-2.0
// A segmentation data set that needs no download: coloured, textured shapes on a textured ground, with their labels,
// drawn from a seed. Every class comes in every colour and texture, hollow frames belong to the background, and shapes
// cover each other, so that neither colour nor contrast is enough to tell classes.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <string>

#include <mixprec/data/counter_random.hpp>
#include <mixprec/data/drawn.hpp>
#include <mixprec/data/segmentation.hpp>

namespace mixprec::inline MIXPREC_ABI {

inline constexpr int drawn_segmentation_classes = 6;
inline constexpr std::array<char const*, drawn_segmentation_classes> drawn_segmentation_class_names{
    "background", "disc", "ring", "square", "triangle", "plus"};

namespace detail {

using DrawnColour = std::array<int, 3>;

/// Two tones and how they alternate.
struct DrawnTexture {
  DrawnColour tone, other;
  int kind, period_x, period_y;

  DrawnColour const& at(int x, int y) const {
    bool const across = x / period_x % 2 == 1, along = y / period_y % 2 == 1;
    switch (kind) {
      case 0: return tone;
      case 1: return across ? other : tone;
      case 2: return along ? other : tone;
      default: return across != along ? other : tone;
    }
  }
};

inline DrawnTexture drawn_texture(DrawnColour const& tone, CounterRandom& random) {
  DrawnTexture texture{tone, tone, random.between(0, 3), random.between(2, 9), random.between(2, 9)};
  for (int& value : texture.other) value = std::clamp(value + random.between(-50, 50), 0, 255);
  return texture;
}

}  // namespace detail

/// The first `count` images of the data set `seed`: a source for SegmentationLoader. Train and test sets take different
/// seeds.
class DrawnSegmentation {
 public:
  /// Errors: a negative count; an extent outside 32 to 1024.
  DrawnSegmentation(std::int64_t count, std::uint64_t seed, ImageExtent extent = {96, 128})
      : count_(count), seed_(seed), extent_(extent) {
    if (count < 0 || std::min(extent.height, extent.width) < 32 || std::max(extent.height, extent.width) > 1024) {
      throw Error("drawn segmentation: " + std::to_string(count) + " images of " + to_text(extent) +
                  ". Ask for none or more, of 32 to 1024 pixels a side.");
    }
  }

  std::int64_t size() const { return count_; }
  int classes() const { return drawn_segmentation_classes; }

  /// Draws image `index`: a pure function of (seed, index, extent), the same on every platform.
  SegmentationSample load(std::int64_t index) const {
    CounterRandom random(seed_, static_cast<std::uint64_t>(index));
    SegmentationSample sample{{extent_.height, extent_.width, 3, {}}, {extent_.height, extent_.width, {}}};
    detail::DrawnColour ground;
    for (int& value : ground) value = random.between(30, 225);
    detail::DrawnTexture const texture = detail::drawn_texture(ground, random);
    for (int y = 0; y < extent_.height; ++y) {
      for (int x = 0; x < extent_.width; ++x) {
        for (int const value : texture.at(x, y)) sample.image.pixels.push_back(static_cast<std::uint8_t>(value));
      }
    }
    sample.labels.values.assign(extent_.pixels(), 0);
    for (int shape = random.between(3, 6); shape > 0; --shape) paint_shape(sample, ground, random);
    add_noise(sample.image, random);
    return sample;
  }

 private:
  // Paints a shape somewhere over what is there, or (one in six) a frame, which is background.
  void paint_shape(SegmentationSample& sample, detail::DrawnColour const& ground, CounterRandom& random) const {
    using detail::drawn_one;
    constexpr std::array<int, drawn_segmentation_classes> kinds{3, 0, 1, 2, 4, 6};  // of DrawnShape: frame, disc, ...
    int const label = random.between(0, drawn_segmentation_classes - 1);
    int const side = std::min(extent_.height, extent_.width);
    detail::DrawnShape shape{};
    shape.kind = kinds[static_cast<std::size_t>(label)];
    shape.radius = random.between(side * drawn_one / 9, side * drawn_one / 4);
    shape.thickness = random.between(shape.radius / 6, shape.radius / 4);
    int const centre_x = random.between(0, extent_.width * drawn_one);
    int const centre_y = random.between(0, extent_.height * drawn_one);
    detail::DrawnFrame const frame =
        detail::drawn_frame(centre_x, centre_y, random.between(-27000, 27000));  // up to 45 degrees
    // At least 80 away from the ground in every channel: around the circle of 256 values is never farther than
    // directly.
    detail::DrawnColour tone;
    for (std::size_t c = 0; c < 3; ++c) tone[c] = (ground[c] + random.between(80, 176)) % 256;
    detail::DrawnTexture const texture = detail::drawn_texture(tone, random);

    int const reach = shape.radius * 3 / 2 / drawn_one + 2;  // a square's corner is sqrt(2) radii away
    int const row = centre_y / drawn_one, column = centre_x / drawn_one;
    for (int y = std::max(row - reach, 0); y < std::min(row + reach, extent_.height); ++y) {
      for (int x = std::max(column - reach, 0); x < std::min(column + reach, extent_.width); ++x) {
        std::int64_t const dx = x * drawn_one + drawn_one / 2 - frame.x, dy = y * drawn_one + drawn_one / 2 - frame.y;
        int const u = static_cast<int>((dx * frame.cosine + dy * frame.sine) / 65536);
        int const v = static_cast<int>((dy * frame.cosine - dx * frame.sine) / 65536);
        int const distance = detail::drawn_distance(shape, u, v);
        int const cover = std::clamp(drawn_one / 2 - distance, 0, drawn_one);
        std::size_t const at =
            static_cast<std::size_t>(y) * static_cast<std::size_t>(extent_.width) + static_cast<std::size_t>(x);
        if (distance < 0) sample.labels.values[at] = static_cast<std::uint8_t>(label);
        detail::DrawnColour const& colour = texture.at(x, y);
        for (std::size_t c = 0; c < 3; ++c) {
          std::uint8_t& pixel = sample.image.pixels[3 * at + c];
          pixel = static_cast<std::uint8_t>(pixel + (colour[c] - pixel) * cover / drawn_one);
        }
      }
    }
  }

  // The sum of four random bytes is close to a normal distribution of standard deviation 148.
  static void add_noise(Image& image, CounterRandom& random) {
    int const amplitude = random.between(4, 20);
    std::uint64_t bits = 0;
    for (std::size_t i = 0; i < image.pixels.size(); ++i) {
      bits = i % 2 == 0 ? random.next() : bits >> 32;
      int const sum = static_cast<int>((bits & 255) + (bits >> 8 & 255) + (bits >> 16 & 255) + (bits >> 24 & 255));
      image.pixels[i] = static_cast<std::uint8_t>(std::clamp(image.pixels[i] + (sum - 510) * amplitude / 148, 0, 255));
    }
  }

  std::int64_t count_;
  std::uint64_t seed_;
  ImageExtent extent_;
};

}  // namespace mixprec::inline MIXPREC_ABI
