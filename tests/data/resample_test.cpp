// SPDX-License-Identifier: Apache-2.0
// Scaling and mirroring against their definitions in double.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include <mixprec/data/resample.hpp>

#include "../io/temporary_directory.hpp"

namespace mp = mixprec;

namespace {

template <class T>
std::vector<T> random_values(std::size_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<T> values(count);
  for (T& value : values) value = static_cast<T>(random() % 256);
  return values;
}

// The value at row `y` and column `x` of the image scaled to `to`: pixel centres lie at halves.
template <class T>
double bilinear(std::vector<T> const& values, mp::ImageExtent from, int channels, mp::ImageExtent to, int y, int x,
                int c) {
  auto const place = [](int i, int in, int out) { return std::clamp((i + 0.5) * in / out - 0.5, 0.0, in - 1.0); };
  auto const at = [&](int row, int column) {
    row = std::min(row, from.height - 1), column = std::min(column, from.width - 1);
    return static_cast<double>(values[static_cast<std::size_t>((row * from.width + column) * channels + c)]);
  };
  double const v = place(y, from.height, to.height), u = place(x, from.width, to.width);
  int const top = static_cast<int>(v), left = static_cast<int>(u);
  double const down = v - top, right = u - left;
  return (at(top, left) * (1 - right) + at(top, left + 1) * right) * (1 - down) +
         (at(top + 1, left) * (1 - right) + at(top + 1, left + 1) * right) * down;
}

mp::ImageExtent const sizes[][2] = {{{7, 9}, {7, 9}},  {{7, 9}, {14, 18}}, {{7, 9}, {3, 5}},    {{1, 1}, {5, 4}},
                                    {{6, 10}, {1, 1}}, {{11, 5}, {17, 3}}, {{30, 20}, {45, 31}}};

}  // namespace

TEST_CASE("resample: bilinear scaling follows its definition, for bytes and for floats") {
  for (auto const& [from, to] : sizes) {
    for (int const channels : {1, 3}) {
      std::size_t const count = from.pixels() * static_cast<std::size_t>(channels);
      mp::Image const image{from.height, from.width, channels, random_values<std::uint8_t>(count, 5)};
      auto const values = random_values<float>(count, 6);
      mp::Image const scaled = mp::resized(image, to);
      auto const floats = mp::resized(std::span<float const>(values), from, channels, to);
      REQUIRE(scaled.extent() == to);
      std::size_t at = 0;
      for (int y = 0; y < to.height; ++y) {
        for (int x = 0; x < to.width; ++x) {
          for (int c = 0; c < channels; ++c, ++at) {
            // Half a step from rounding, and 255 / 4096 from each of the two rounded weights.
            CHECK(std::abs(scaled.pixels[at] - bilinear(image.pixels, from, channels, to, y, x, c)) <= 0.63);
            CHECK(std::abs(floats[at] - bilinear(values, from, channels, to, y, x, c)) <= 1e-4);
          }
        }
      }
      if (from == to) CHECK(scaled.pixels == image.pixels);
      if (from == to) CHECK(floats == values);
    }
  }
}

TEST_CASE("resample: nearest scaling takes the pixel that the centre falls on, and no other value") {
  for (auto const& [from, to] : sizes) {
    mp::LabelMap const labels{from.height, from.width, random_values<std::uint8_t>(from.pixels(), 7)};
    mp::LabelMap const scaled = mp::resized(labels, to);
    for (int y = 0; y < to.height; ++y) {
      for (int x = 0; x < to.width; ++x) {
        int const row = static_cast<int>((y + 0.5) * from.height / to.height);
        int const column = static_cast<int>((x + 0.5) * from.width / to.width);
        CHECK(scaled.values[static_cast<std::size_t>(y * to.width + x)] ==
              labels.values[static_cast<std::size_t>(row * from.width + column)]);
      }
    }
  }
}

TEST_CASE("resample: a window is the part of the whole") {
  mp::ImageExtent const to{23, 31};
  mp::Image const image{13, 17, 3, random_values<std::uint8_t>(13 * 17 * 3, 8)};
  mp::LabelMap const labels{13, 17, random_values<std::uint8_t>(13 * 17, 9)};
  mp::Image const whole = mp::resized(image, to);
  mp::LabelMap const whole_labels = mp::resized(labels, to);
  for (mp::ImageWindow const window : {mp::ImageWindow{0, 0, 23, 31}, {5, 7, 3, 4}, {22, 30, 1, 1}, {0, 29, 23, 2}}) {
    mp::Image const part = mp::resized(image, to, window);
    mp::LabelMap const part_labels = mp::resized(labels, to, window);
    REQUIRE(part.extent() == window.extent());
    for (int y = 0; y < window.height; ++y) {
      for (int x = 0; x < window.width; ++x) {
        std::size_t const at = static_cast<std::size_t>(y * window.width + x);
        std::size_t const from = static_cast<std::size_t>((y + window.top) * to.width + x + window.left);
        CHECK(part_labels.values[at] == whole_labels.values[from]);
        for (std::size_t c = 0; c < 3; ++c) CHECK(part.pixels[3 * at + c] == whole.pixels[3 * from + c]);
      }
    }
  }
  for (mp::ImageWindow const window : {mp::ImageWindow{-1, 0, 2, 2}, {0, 30, 1, 2}, {0, 0, 0, 1}, {20, 0, 4, 1}}) {
    CHECK(!message_of<mp::Error>([&] { mp::resized(image, to, window); }).empty());
    CHECK(!message_of<mp::Error>([&] { mp::resized(labels, to, window); }).empty());
  }
  CHECK(!message_of<mp::Error>([&] { mp::resized(std::span<float const>(), {2, 2}, 1, to); }).empty());
}

TEST_CASE("resample: mirroring swaps columns and keeps channels together") {
  for (int const width : {1, 2, 5, 6}) {
    mp::Image const image{3, width, 3, random_values<std::uint8_t>(static_cast<std::size_t>(3 * width * 3), 10)};
    mp::Image mirrored = image;
    mp::mirror(mirrored);
    std::vector<float> floats(image.pixels.begin(), image.pixels.end());
    mp::mirror(floats, image.extent(), 3);
    for (int y = 0; y < 3; ++y) {
      for (int x = 0; x < width; ++x) {
        for (int c = 0; c < 3; ++c) {
          auto const at = static_cast<std::size_t>((y * width + x) * 3 + c);
          CHECK(mirrored.pixels[at] == image.pixels[static_cast<std::size_t>((y * width + width - 1 - x) * 3 + c)]);
          CHECK(floats[at] == mirrored.pixels[at]);
        }
      }
    }
    mp::mirror(mirrored);
    CHECK(mirrored.pixels == image.pixels);
  }
  mp::LabelMap labels{2, 3, {1, 2, 3, 4, 5, 6}};
  mp::mirror(labels);
  CHECK(labels.values == std::vector<std::uint8_t>{3, 2, 1, 6, 5, 4});
}
