// SPDX-License-Identifier: Apache-2.0
// The augmentation: image and labels stay on each other, nothing is invented, ranges are kept and reached, and all of
// it is a function of the random sequence alone.
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <random>
#include <set>
#include <string>

#include <mixprec/data/augment.hpp>
#include <mixprec/data/drawn_segmentation.hpp>

#include "../has.hpp"
#include "../io/temporary_directory.hpp"

namespace mp = mixprec;
using mp::test::has;

namespace {

// Black and white stripes of random width, with the label 1 where it is white.
mp::SegmentationSample stripes(int height, int width, bool vertical, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<std::uint8_t> bits(static_cast<std::size_t>(std::max(height, width)));
  for (auto& bit : bits) bit = static_cast<std::uint8_t>(random() % 2);
  mp::SegmentationSample sample{{height, width, 3, {}}, {height, width, {}}};
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x) {
      auto const bit = bits[static_cast<std::size_t>(vertical ? x : y)];
      sample.labels.values.push_back(bit);
      sample.image.pixels.insert(sample.image.pixels.end(), 3, static_cast<std::uint8_t>(255 * bit));
    }
  }
  return sample;
}

mp::SegmentationSample uniform(int height, int width, std::uint8_t value) {
  auto const pixels = static_cast<std::size_t>(height * width);
  return {{height, width, 3, std::vector<std::uint8_t>(3 * pixels, value)},
          {height, width, std::vector<std::uint8_t>(pixels, 1)}};
}

// HSV as textbooks have it, in double.
std::array<double, 3> recoloured(std::array<double, 3> rgb, double saturation, double degrees) {
  double const value = std::max({rgb[0], rgb[1], rgb[2]}), chroma = value - std::min({rgb[0], rgb[1], rgb[2]});
  if (chroma == 0) return rgb;
  double hue = value == rgb[0]   ? (rgb[1] - rgb[2]) / chroma
               : value == rgb[1] ? 2 + (rgb[2] - rgb[0]) / chroma
                                 : 4 + (rgb[0] - rgb[1]) / chroma;
  hue = std::fmod(hue + degrees / 60 + 12, 6);
  double const s = std::min(chroma / value * saturation, 1.0);
  std::array<double, 3> out;
  for (std::size_t c = 0; c < 3; ++c) {
    double const k = std::fmod(hue + std::array{5.0, 3.0, 1.0}[c], 6);
    out[c] = value - value * s * std::clamp(std::min(k, 4 - k), 0.0, 1.0);
  }
  return out;
}

}  // namespace

TEST_CASE("augmentation: image and labels stay on each other through scale, crop and flip") {
  for (unsigned seed = 0; seed < 60; ++seed) {
    auto const sample = stripes(40, 56, seed % 2 == 0, seed);
    mp::Augmentation const options{.crop = {24, 32}, .cat_max_ratio = 1, .photometric = false};
    auto const result = mp::augmented(sample, options, mp::CounterRandom(seed));
    REQUIRE(result.image.extent() == result.labels.extent());
    for (std::size_t i = 0; i < result.labels.values.size(); ++i) {
      // The nearest pixel has more than half of the weight; where both have half, either label is right.
      int const value = result.image.pixels[3 * i];
      if (std::abs(value - 127.5) > 1) CHECK((value > 127) == (result.labels.values[i] == 1));
    }
  }
}

TEST_CASE("augmentation: no label is invented, and what comes out fits the crop") {
  mp::DrawnSegmentation const drawn(40, 3);
  for (std::int64_t i = 0; i < drawn.size(); ++i) {
    auto const sample = drawn.load(i);
    std::set<std::uint8_t> const before(sample.labels.values.begin(), sample.labels.values.end());
    auto const result = mp::augmented(sample, {.crop = {80, 100}}, mp::CounterRandom(7, 1, i));
    CHECK(result.image.height <= 80);
    CHECK(result.image.width <= 100);
    CHECK(result.image.extent() == result.labels.extent());
    mp::validate(result, drawn.classes());
    for (auto const label : result.labels.values) CHECK(before.count(label) == 1);
  }
}

TEST_CASE("augmentation: the scale is uniform between the ratios, and fit scales long side to long side first") {
  auto const sample = uniform(40, 80, 0);
  std::array<int, 3> thirds{};
  for (unsigned i = 0; i < 600; ++i) {
    auto const extent = mp::augmented(sample, {.crop = {999, 999}}, mp::CounterRandom(1, 0, i)).image.extent();
    CHECK(extent.height >= 20);
    CHECK(extent.height <= 80);
    CHECK(std::abs(extent.width - 2 * extent.height) <= 1);
    ++thirds[static_cast<std::size_t>(std::min((extent.width - 40) / 40, 2))];
  }
  for (int const count : thirds) CHECK(std::abs(count - 200) < 70);  // six standard deviations
  struct Case {
    mp::ImageExtent image, fit, expected;
  };
  for (auto const& [image, fit, expected] : {Case{{40, 80}, {100, 400}, {100, 200}},
                                             {{80, 40}, {100, 400}, {200, 100}},
                                             {{40, 80}, {400, 100}, {100, 200}},
                                             {{50, 50}, {1000, 30}, {30, 30}},
                                             {{10, 100}, {512, 512}, {51, 512}},
                                             {{40, 80}, {}, {40, 80}}}) {
    mp::Augmentation const options{.crop = {999, 999}, .fit = fit, .ratio = {1, 1}};
    CHECK(mp::augmented(uniform(image.height, image.width, 0), options, mp::CounterRandom(1)).image.extent() ==
          expected);
  }
}

TEST_CASE("augmentation: crops come from everywhere, half are mirrored, and one class rarely fills one") {
  // A gradient tells where a crop is from, and which way round it is.
  auto sample = uniform(8, 64, 0);
  for (std::size_t i = 0; i < 8 * 64; ++i) sample.image.pixels[3 * i] = static_cast<std::uint8_t>(i % 64);
  for (std::size_t i = 0; i < 8 * 64; ++i) sample.labels.values[i] = i % 64 < 4 ? 0 : 1;
  mp::Augmentation options{.crop = {8, 8}, .ratio = {1, 1}, .cat_max_ratio = 1, .photometric = false};
  auto const crops = [&] {
    int mirrored = 0, mixed = 0;
    std::set<int> places;
    for (unsigned i = 0; i < 1000; ++i) {
      auto const result = mp::augmented(sample, options, mp::CounterRandom(5, 0, i));
      int const first = result.image.pixels[0], last = result.image.pixels[21];
      CHECK(std::abs(last - first) == 7);
      mirrored += last < first ? 1 : 0;
      places.insert(std::min(first, last));
      auto const& labels = result.labels.values;
      auto const ones = std::count(labels.begin(), labels.end(), 1);
      mixed += ones * 4 < 3 * 64 ? 1 : 0;
    }
    return std::array{mirrored, static_cast<int>(places.size()), mixed};
  };
  auto const plain = crops();
  CHECK(std::abs(plain[0] - 500) < 95);
  CHECK(plain[1] == 57);
  CHECK(plain[2] < 100);  // crops at columns 0 and 1 of 57
  options.cat_max_ratio = 0.75;
  auto const balanced = crops();
  CHECK(balanced[2] > 200);  // one of ten tries finds them: 1 - (55 / 57)^11 is 0.32
  CHECK(balanced[1] == 57);
  options.flip = 0;
  CHECK(crops()[0] == 0);
  options.flip = 1;
  CHECK(crops()[0] == 1000);
}

TEST_CASE("augmentation: ignored pixels count for no class in the choice of a crop") {
  auto sample = uniform(16, 16, 0);
  for (std::size_t i = 0; i < 256; ++i) sample.labels.values[i] = i % 16 < 8 ? mp::ignored_label : i % 2 == 0 ? 2 : 3;
  // Half ignored and the rest in two equal shares is mixed; all of one class is not.
  CHECK(mp::detail::is_mixed(sample.labels, {16, 16}, {0, 0, 16, 16}, 0.75));
  CHECK(!mp::detail::is_mixed(sample.labels, {16, 16}, {0, 0, 16, 16}, 0.5));
  CHECK(!mp::detail::is_mixed(sample.labels, {16, 16}, {0, 0, 16, 9}, 0.75));
  CHECK(!mp::detail::is_mixed(sample.labels, {16, 16}, {0, 0, 16, 8}, 0.75));
}

TEST_CASE("augmentation: saturation and hue follow HSV, and doing nothing changes nothing") {
  std::mt19937 random(20250117);
  mp::Image image{20, 20, 3, {}};
  for (int i = 0; i < 1200; ++i) image.pixels.push_back(static_cast<std::uint8_t>(i % 40 == 0 ? 255 : random()));
  mp::Image same = image;
  mp::detail::change_colours(same, 65536, 0);
  CHECK(same.pixels == image.pixels);
  for (double const saturation : {0.0, 0.5, 1.0, 1.5}) {
    for (int const hue : {-90, -18, 0, 7, 18, 60}) {
      mp::Image changed = image;
      mp::detail::change_colours(changed, static_cast<std::int64_t>(saturation * 65536), hue);
      for (std::size_t i = 0; i < 1200; i += 3) {
        auto const expected = recoloured(
            {double(image.pixels[i]), double(image.pixels[i + 1]), double(image.pixels[i + 2])}, saturation, 2.0 * hue);
        for (std::size_t c = 0; c < 3; ++c) CHECK(std::abs(changed.pixels[i + c] - expected[c]) <= 0.75);
      }
    }
  }
}

TEST_CASE("augmentation: brightness and contrast stay in their ranges, and photometric changes no label") {
  auto const sample = uniform(4, 4, 100);
  mp::Augmentation options{.crop = {4, 4}, .ratio = {1, 1}};
  std::set<int> levels;
  for (unsigned i = 0; i < 2000; ++i) {
    auto const result = mp::augmented(sample, options, mp::CounterRandom(9, 0, i));
    CHECK(result.labels.values == sample.labels.values);
    levels.insert(result.image.pixels[0]);
    CHECK(std::count(result.image.pixels.begin(), result.image.pixels.end(), result.image.pixels[0]) == 48);
  }
  CHECK(levels.count(100) == 1);
  CHECK(*levels.begin() >= 34);
  CHECK(*levels.begin() < 45);
  CHECK(*levels.rbegin() <= 198);
  CHECK(*levels.rbegin() > 180);
  options.contrast = {1, 1};
  for (unsigned i = 0; i < 500; ++i) {
    int const level = mp::augmented(sample, options, mp::CounterRandom(9, 0, i)).image.pixels[0];
    CHECK(std::abs(level - 100) <= 32);
  }
}

TEST_CASE("augmentation: a function of the random sequence, and the same on every platform") {
  mp::DrawnSegmentation const drawn(8, 3);
  std::set<std::vector<std::uint8_t>> distinct;
  std::uint64_t hash = 0xcbf29ce484222325;  // FNV-1a
  for (std::uint64_t epoch = 0; epoch < 3; ++epoch) {
    for (std::int64_t i = 0; i < drawn.size(); ++i) {
      mp::CounterRandom const random(1, epoch, static_cast<std::uint64_t>(i));
      auto const once = mp::augmented(drawn.load(i), {.crop = {64, 64}}, random);
      auto const again = mp::augmented(drawn.load(i), {.crop = {64, 64}}, random);
      CHECK(once.image.pixels == again.image.pixels);
      CHECK(once.labels.values == again.labels.values);
      distinct.insert(once.image.pixels);
      for (auto const* bytes : {&once.image.pixels, &once.labels.values}) {
        for (auto const byte : *bytes) hash = (hash ^ byte) * 0x100000001b3;
      }
    }
  }
  CHECK(distinct.size() == 24);
  // A change changes accuracies that users know; it must be meant, and this number be renewed with it.
  CHECK(hash == 15421734385470125945u);
}

TEST_CASE("augmentation: options that make no sense are refused with their values") {
  auto const problem = [](auto change) {
    mp::Augmentation options{.crop = {64, 64}};
    change(options);
    return message_of<mp::Error>([&] { mp::validate(options); });
  };
  CHECK(problem([](auto&) {}).empty());
  CHECK(has(problem([](auto& o) { o.crop = {}; }), "crop.height is 0"));
  CHECK(has(problem([](auto& o) { o.crop = {8, -1}; }), "crop.width is -1"));
  CHECK(has(problem([](auto& o) { o.fit = {8, 0}; }), "fit's smaller side is 0"));
  CHECK(has(problem([](auto& o) { o.ratio = {0, 1}; }), "ratio.low is 0"));
  CHECK(has(problem([](auto& o) { o.ratio = {1, 0.5}; }), "ratio.high is 0.5"));
  CHECK(has(problem([](auto& o) { o.contrast.high = 17; }), "contrast.high is 17"));
  CHECK(has(problem([](auto& o) { o.saturation.low = -1; }), "saturation.low is -1"));
  CHECK(has(problem([](auto& o) { o.cat_max_ratio = 0; }), "cat_max_ratio is 0"));
  CHECK(has(problem([](auto& o) { o.flip = 1.5; }), "flip is 1.5"));
  CHECK(has(problem([](auto& o) { o.brightness_delta = 256; }), "brightness_delta is 256"));
  CHECK(has(problem([](auto& o) { o.hue_delta = 91; }), "hue_delta is 91"));
}
