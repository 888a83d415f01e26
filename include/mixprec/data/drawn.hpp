// SPDX-License-Identifier: Apache-2.0
// A data set that needs no download: grey 28x28 images of ten shapes, drawn from a seed. Position, size, rotation,
// thickness, contrast (dark on light too), clutter and noise vary, so that a small convnet learns it well in a few
// epochs and a linear classifier does not.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <string>

#include <mixprec/data/counter_random.hpp>
#include <mixprec/data/dataset.hpp>

namespace mixprec::inline MIXPREC_ABI {

inline constexpr int drawn_extent = 28;
inline constexpr int drawn_classes = 10;
inline constexpr std::array<char const*, drawn_classes> drawn_class_names{
    "disc",   "ring", "square", "frame", "triangle", "cross", "plus", "horizontal stripes", "vertical stripes",
    "checker"};

namespace detail {

// Lengths are integers in 1/256 of a pixel. Floating point would give other images where a compiler contracts a
// multiplication and an addition into one rounding.
inline constexpr int drawn_one = 256;

// A shape's own frame: its centre in the image and its rotation (cosine and sine times 65536).
struct DrawnFrame {
  int x, y;
  std::int64_t cosine, sine;
};

// `half_turn` is 65536 times the tangent of half the angle: cosine and sine follow from it by integer arithmetic.
inline DrawnFrame drawn_frame(int x, int y, int half_turn) {
  std::int64_t const t = half_turn, one = 65536, square = t * t;
  std::int64_t const length = one * one + square;
  return {x, y, (one * one - square) * one / length, 2 * t * one * one / length};
}

struct DrawnShape {
  int kind, radius, thickness, period, phase_x, phase_y;
};

// The exact floor of the square root.
inline int drawn_root(std::int64_t value) {
  auto root = static_cast<std::int64_t>(std::sqrt(static_cast<double>(value)));
  while (root * root > value) --root;
  while ((root + 1) * (root + 1) <= value) ++root;
  return static_cast<int>(root);
}

// Signed distance to stripes across the axis of `position`: half of each period is inside.
inline int drawn_stripes(int position, int phase, int period) {
  int const offset = ((position + phase) % period + period) % period;
  return std::abs(offset - period / 2) - period / 4;
}

// Roughly the signed distance from (x, y) to the shape's edge, negative inside.
inline int drawn_distance(DrawnShape const& shape, int x, int y) {
  int const across = std::abs(x), along = std::abs(y), box = std::max(across, along);
  int const radius = shape.radius, thickness = shape.thickness;
  auto const length = [&] { return drawn_root(std::int64_t{x} * x + std::int64_t{y} * y); };
  auto const bars = [&](int u, int v) {
    return std::min(std::max(u - radius, v - thickness), std::max(v - radius, u - thickness));
  };
  switch (shape.kind) {
    case 0: return length() - radius;
    case 1: return std::abs(length() - radius + thickness) - thickness;
    case 2: return box - radius;
    case 3: return std::abs(box - radius + thickness) - thickness;
    // Half planes below and at 30 degrees: 887 / 1024 and 512 / 1024 are the cosine and sine.
    case 4: return std::max(y, (887 * across - 512 * y) / 1024) - radius / 2;
    // A plus turned by 45 degrees: 724 / 1024 is the square root of a half.
    case 5: return bars(std::abs(x + y) * 724 / 1024, std::abs(x - y) * 724 / 1024);
    case 6: return bars(across, along);
    case 7: return std::max(box - radius, drawn_stripes(y, shape.phase_y, shape.period));
    case 8: return std::max(box - radius, drawn_stripes(x, shape.phase_x, shape.period));
    default: {
      int const u = drawn_stripes(x, shape.phase_x, shape.period), v = drawn_stripes(y, shape.phase_y, shape.period);
      return std::max(box - radius, std::min(std::max(u, -v), std::max(v, -u)));
    }
  }
}

// Blends `level` into every pixel by how much of it the shape covers.
inline void drawn_paint(std::array<int, drawn_extent * drawn_extent>& canvas, DrawnFrame const& frame,
                        DrawnShape const& shape, int level) {
  for (int row = 0; row < drawn_extent; ++row) {
    for (int column = 0; column < drawn_extent; ++column) {
      std::int64_t const dx = column * drawn_one + drawn_one / 2 - frame.x,
                         dy = row * drawn_one + drawn_one / 2 - frame.y;
      int const x = static_cast<int>((dx * frame.cosine + dy * frame.sine) / 65536);
      int const y = static_cast<int>((dy * frame.cosine - dx * frame.sine) / 65536);
      int const cover = std::clamp(drawn_one / 2 - drawn_distance(shape, x, y), 0, drawn_one);
      int& pixel = canvas[static_cast<std::size_t>(row * drawn_extent + column)];
      pixel += (level - pixel) * cover / drawn_one;
    }
  }
}

}  // namespace detail

/// Draws image `index` of the data set `seed` into `pixels` (28x28, row by row) and returns its class, index % 10.
/// A pure function of (seed, index), the same on every platform.
inline std::uint8_t draw_image(std::uint64_t seed, std::uint64_t index,
                               std::span<std::uint8_t, drawn_extent * drawn_extent> pixels) {
  using detail::drawn_one;
  CounterRandom random(seed, index);
  int const label = static_cast<int>(index % drawn_classes);

  int const contrast = random.between(50, 160);
  int const dark = random.between(10, 245 - contrast);
  bool const inverted = random.below(2) == 1;
  int const ground = inverted ? dark + contrast : dark, ink = inverted ? dark : dark + contrast;
  std::array<int, drawn_extent * drawn_extent> canvas;
  canvas.fill(ground);

  detail::DrawnShape shape{};
  shape.kind = label;
  shape.radius = random.between(6 * drawn_one, 10 * drawn_one);
  shape.thickness = random.between(drawn_one * 3 / 4, drawn_one * 3 / 2);
  shape.period = random.between(drawn_one * 4, drawn_one * 6);
  shape.phase_x = random.between(0, shape.period);
  shape.phase_y = random.between(0, shape.period);
  int const slack = (drawn_extent / 2 * drawn_one - shape.radius) * 7 / 8;
  int const x = drawn_extent / 2 * drawn_one + random.between(-slack, slack);
  int const y = drawn_extent / 2 * drawn_one + random.between(-slack, slack);
  // 0.13 is the tangent of 7.5 degrees: up to 15 degrees of rotation keep a plus from becoming a cross.
  int const tilt = random.between(-8520, 8520);
  detail::drawn_paint(canvas, detail::drawn_frame(x, y, tilt), shape, ink);

  for (int spot = random.between(0, 3); spot > 0; --spot) {
    detail::DrawnShape clutter{};
    clutter.kind = random.below(2) == 1 ? 0 : 2;
    clutter.radius = random.between(drawn_one / 2, drawn_one * 3 / 2);
    int const at_x = random.between(0, drawn_extent * drawn_one), at_y = random.between(0, drawn_extent * drawn_one);
    int const turn = random.between(-27000, 27000);
    int const level = random.between(std::min(ground, ink), std::max(ground, ink));
    detail::drawn_paint(canvas, detail::drawn_frame(at_x, at_y, turn), clutter, level);
  }

  // The sum of four random bytes is close to a normal distribution of standard deviation 148.
  int const amplitude = random.between(5, 28);
  std::uint64_t bits = 0;
  for (std::size_t i = 0; i < pixels.size(); ++i) {
    bits = i % 2 == 0 ? random.next() : bits >> 32;
    int const sum = static_cast<int>((bits & 255) + (bits >> 8 & 255) + (bits >> 16 & 255) + (bits >> 24 & 255));
    pixels[i] = static_cast<std::uint8_t>(std::clamp(canvas[i] + (sum - 510) * amplitude / 148, 0, 255));
  }
  return static_cast<std::uint8_t>(label);
}

/// The first `count` images of the data set `seed`. Classes take turns; train and test sets take different seeds.
inline ImageDataset draw_dataset(int count, std::uint64_t seed) {
  if (count < 0) throw Error("drawn data set: " + std::to_string(count) + " images. Ask for none or more.");
  constexpr std::size_t bytes = drawn_extent * drawn_extent;
  ImageDataset data{drawn_classes, 1, drawn_extent, drawn_extent, {}, {}, {}};
  data.class_names.assign(drawn_class_names.begin(), drawn_class_names.end());
  data.images.resize(static_cast<std::size_t>(count) * bytes);
  data.labels.resize(static_cast<std::size_t>(count));
  for (std::size_t i = 0; i < data.labels.size(); ++i) {
    data.labels[i] = draw_image(seed, i, std::span<std::uint8_t, bytes>(data.images.data() + i * bytes, bytes));
  }
  return data;
}

}  // namespace mixprec::inline MIXPREC_ABI
