// SPDX-License-Identifier: Apache-2.0
// Sliding windows: they cover every pixel, and the mean of their logits is the mean.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include <mixprec/data/sliding_window.hpp>

#include "../io/temporary_directory.hpp"

namespace mp = mixprec;

TEST_CASE("sliding windows: they cover everything, stay inside and are as many as mmsegmentation's") {
  for (int height = 1; height <= 24; ++height) {
    for (int crop = 1; crop <= 9; ++crop) {
      for (int stride = 1; stride <= crop; ++stride) {
        mp::ImageExtent const image{height, 25 - height};
        auto const windows = mp::sliding_windows(image, {crop, crop}, {stride, stride});
        auto const grids = [&](int extent) { return std::max(extent - crop + stride - 1, 0) / stride + 1; };
        CHECK(windows.size() == static_cast<std::size_t>(grids(image.height) * grids(image.width)));
        std::vector<int> covered(image.pixels());
        for (mp::ImageWindow const& window : windows) {
          CHECK(window.height == std::min(crop, image.height));
          CHECK(window.width == std::min(crop, image.width));
          REQUIRE(std::min(window.top, window.left) >= 0);
          REQUIRE(window.top + window.height <= image.height);
          REQUIRE(window.left + window.width <= image.width);
          for (int y = window.top; y < window.top + window.height; ++y) {
            for (int x = window.left; x < window.left + window.width; ++x) {
              ++covered[static_cast<std::size_t>(y * image.width + x)];
            }
          }
        }
        CHECK(*std::min_element(covered.begin(), covered.end()) >= 1);
        bool const apart = stride == crop && image.height % crop == 0 && image.width % crop == 0;
        if (apart) CHECK(*std::max_element(covered.begin(), covered.end()) == 1);
      }
    }
  }
}

TEST_CASE("sliding windows: the last window is moved back, not cut") {
  auto const windows = mp::sliding_windows({4, 10}, {4, 4}, {3, 3});
  CHECK(windows == std::vector<mp::ImageWindow>{{0, 0, 4, 4}, {0, 3, 4, 4}, {0, 6, 4, 4}});
  CHECK(mp::sliding_windows({4, 9}, {4, 4}, {3, 3}).back() == mp::ImageWindow{0, 5, 4, 4});
  CHECK(mp::sliding_windows({3, 9}, {4, 4}, {2, 4}).front() == mp::ImageWindow{0, 0, 3, 4});
  for (auto const& [crop, stride] : {std::pair<mp::ImageExtent, mp::ImageExtent>{{4, 4}, {5, 1}},
                                     {{4, 4}, {1, 5}},
                                     {{4, 4}, {0, 1}},
                                     {{0, 4}, {1, 1}}}) {
    CHECK(!message_of<mp::Error>([&] { mp::sliding_windows({8, 8}, crop, stride); }).empty());
  }
}

TEST_CASE("sliding windows: cut parts put together are the whole, and overlaps are averaged") {
  mp::ImageExtent const image{11, 14};
  int const channels = 3;
  std::mt19937 random(20250117);
  std::vector<float> values(image.pixels() * channels);
  for (float& value : values) value = static_cast<float>(random() % 1000) / 8;
  auto const windows = mp::sliding_windows(image, {5, 6}, {3, 4});
  mp::WindowMean same(image, channels), numbered(image, channels);
  std::vector<double> sums(image.pixels()), counts(image.pixels());
  for (std::size_t w = 0; w < windows.size(); ++w) {
    auto const part = mp::cut_window<float>(values, image, channels, windows[w]);
    REQUIRE(part.size() == windows[w].extent().pixels() * channels);
    same.add<float>(windows[w], part);
    numbered.add<float>(windows[w], std::vector<float>(part.size(), static_cast<float>(w)));
    for (int y = 0; y < windows[w].height; ++y) {
      for (int x = 0; x < windows[w].width; ++x) {
        auto const at = static_cast<std::size_t>((y + windows[w].top) * image.width + x + windows[w].left);
        sums[at] += static_cast<double>(w);
        ++counts[at];
      }
    }
  }
  auto const back = same.mean(), mean = numbered.mean();
  for (std::size_t i = 0; i < values.size(); ++i) {
    CHECK(std::abs(back[i] - values[i]) <= 1e-4f);
    CHECK(std::abs(mean[i] - sums[i / channels] / counts[i / channels]) <= 1e-4);
  }
}

TEST_CASE("sliding windows: what does not fit is refused, and so is a mean with gaps") {
  std::vector<float> const values(8 * 8 * 2);
  mp::WindowMean mean({8, 8}, 2);
  for (mp::ImageWindow const window : {mp::ImageWindow{5, 0, 4, 4}, {0, 5, 4, 4}, {-1, 0, 4, 4}, {0, -1, 4, 4}}) {
    CHECK(!message_of<mp::Error>([&] { mp::cut_window<float>(values, {8, 8}, 2, window); }).empty());
    CHECK(!message_of<mp::Error>([&] { mean.add<float>(window, std::vector<float>(32)); }).empty());
  }
  CHECK(!message_of<mp::Error>([&] { mp::cut_window<float>(values, {8, 8}, 3, {0, 0, 1, 1}); }).empty());
  CHECK(!message_of<mp::Error>([&] { mean.add<float>({0, 0, 4, 4}, std::vector<float>(31)); }).empty());
  mean.add<float>({0, 0, 8, 7}, std::vector<float>(112));
  CHECK(message_of<mp::Error>([&] { mean.mean(); }).find("no window covers pixel 7") != std::string::npos);
}
