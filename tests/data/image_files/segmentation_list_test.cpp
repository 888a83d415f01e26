// SPDX-License-Identifier: Apache-2.0
// List files: pairs are found and read, and every mistake in them is named with its file, place and value.
#include <doctest/doctest.h>

#include <array>
#include <cmath>
#include <cstdlib>
#include <filesystem>

#include <mixprec/data/segmentation_list.hpp>
#include <mixprec/data/segmentation_loader.hpp>

#include "../../has.hpp"
#include "../../io/temporary_directory.hpp"
#include "../../skip.hpp"
#include "encode.hpp"

namespace mp = mixprec;
using mp::test::has;

namespace {

// Writes an RGB image and a grey label map of values below `bound`, and returns them.
mp::SegmentationSample put_pair(TemporaryDirectory const& directory, std::string const& name, int height, int width,
                                int bound, unsigned seed) {
  auto const pixels = static_cast<std::size_t>(height * width);
  mp::SegmentationSample const sample{{height, width, 3, random_values(3 * pixels, 256, seed)},
                                      {height, width, random_values(pixels, bound, seed + 1)}};
  mp::write_png(directory / (name + ".png"), sample.image);
  mp::write_png(directory / (name + "-labels.png"), {height, width, 1, sample.labels.values});
  return sample;
}

std::string load_problem(TemporaryDirectory const& directory, std::string const& line, mp::LabelFormat format) {
  std::string const path = directory.put("list.txt", line);
  return message_of<mp::Error>([&] { mp::SegmentationList(path, format).load(0); });
}

}  // namespace

TEST_CASE("segmentation list: paths are relative to the list or absolute, and blank lines do not count") {
  TemporaryDirectory const directory;
  std::filesystem::create_directory(directory / "sub");
  auto const first = put_pair(directory, "a", 5, 7, 4, 1), second = put_pair(directory, "sub/b", 6, 3, 4, 3);
  std::string const list =
      directory.put("list.txt", "a.png a-labels.png\r\n\n  \n" + (directory / "sub/b.png") + "\tsub/b-labels.png");
  mp::SegmentationList const data(list, {.classes = 4});
  REQUIRE(data.size() == 2);
  CHECK(data.classes() == 4);
  CHECK(data.load(0).image.pixels == first.image.pixels);
  CHECK(data.load(0).labels.values == first.labels.values);
  CHECK(data.load(1).labels.values == second.labels.values);
}

TEST_CASE("segmentation list: grey images become RGB, and the set's ignored label becomes 255") {
  TemporaryDirectory const directory;
  mp::write_png(directory / "a.png", {1, 3, 1, {7, 8, 9}});
  mp::write_png(directory / "l.png", {1, 3, 1, {2, 11, 0}});
  std::string const list = directory.put("list.txt", "a.png l.png");
  auto const sample = mp::SegmentationList(list, {.classes = 11, .ignore = 11}).load(0);
  CHECK(sample.image.pixels == std::vector<std::uint8_t>{7, 7, 7, 8, 8, 8, 9, 9, 9});
  CHECK(sample.labels.values == std::vector<std::uint8_t>{2, 255, 0});
  CHECK(mp::SegmentationList(list, {.classes = 12}).load(0).labels.values == std::vector<std::uint8_t>{2, 11, 0});
}

TEST_CASE("segmentation list: mistakes are named with file, place and value") {
  TemporaryDirectory const directory;
  put_pair(directory, "a", 5, 7, 4, 1);
  put_pair(directory, "b", 5, 8, 4, 1);
  mp::write_png(directory / "l.png", {2, 3, 1, {0, 1, 2, 0, 9, 1}});
  mp::write_png(directory / "i.png", {2, 3, 1, {0, 1, 2, 0, 9, 1}});
  std::string const list = directory / "list.txt";
  CHECK(has(load_problem(directory, "a.png a-labels.png\na.png\n", {4}), "list.txt': line 2 is not an image and"));
  CHECK(has(load_problem(directory, "a.png a-labels.png 3", {4}), "line 1 is not"));
  CHECK(has(load_problem(directory, "\n \n", {4}), "list file '" + list + "': names no images"));
  CHECK(has(load_problem(directory, "a.png a-labels.png", {0}), "has 0 classes"));
  CHECK(has(load_problem(directory, "a.png a-labels.png", {256}), "has 256 classes"));
  CHECK(
      has(load_problem(directory, "a.png b-labels.png", {4}), "b-labels.png': is 5x8, but '" + (directory / "a.png")));
  CHECK(has(load_problem(directory, "i.png l.png", {3}),
            "l.png': row 1, column 1 has label 9 of 3 classes, and the ignored label is 255"));
  CHECK(load_problem(directory, "i.png l.png", {3, 9}).empty());
  CHECK(has(load_problem(directory, "i.png absent.png", {3}), "absent.png': cannot be opened"));
  CHECK(has(load_problem(directory, "i.png a.png", {3}), "a.png': holds colours or alpha"));
  CHECK(has(message_of<mp::Error>([&] { mp::SegmentationList(directory / "none.txt", {3}); }), "cannot be opened"));
}

TEST_CASE("segmentation list: statistics follow their definition, and a damaged file reaches the training loop") {
  TemporaryDirectory const directory;
  auto const a = put_pair(directory, "a", 5, 7, 4, 1), b = put_pair(directory, "b", 6, 8, 4, 5);
  mp::SegmentationList const data(directory.put("list.txt", "a.png a-labels.png\nb.png b-labels.png"), {4});
  mp::ChannelStatistics const statistics = mp::channel_statistics(data);
  for (std::size_t c = 0; c < 3; ++c) {
    std::vector<double> values;
    for (auto const* sample : {&a, &b}) {
      for (std::size_t i = c; i < sample->image.pixels.size(); i += 3)
        values.push_back(sample->image.pixels[i] / 255.0);
    }
    double mean = 0, square = 0;
    for (double const x : values) mean += x / static_cast<double>(values.size());
    for (double const x : values) square += (x - mean) * (x - mean) / static_cast<double>(values.size());
    CHECK(std::abs(statistics.mean[c] - mean) < 1e-13);
    CHECK(std::abs(statistics.std[c] - std::sqrt(square)) < 1e-13);
  }
  std::string const file = whole_file(directory / "b.png");
  directory.put("b.png", file.substr(0, file.size() / 2));
  mp::SegmentationLoader loader(
      data, {.batch_size = 2, .normalization = statistics, .augmentation = mp::Augmentation{.crop = {4, 4}}});
  CHECK(has(message_of<mp::Error>([&] {
              for ([[maybe_unused]] mp::HostBatch const& batch : loader.epoch(0)) continue;
            }),
            "b.png': is damaged"));
}

TEST_CASE("segmentation list: CamVid has its published sizes, label shares, mean and standard deviation") {
  char const* const folder = std::getenv("MIXPREC_TEST_DATA");
  if (folder == nullptr && skipped("MIXPREC_TEST_DATA is not set")) return;
  std::string const camvid = std::string(folder) + "/camvid11";
  mp::SegmentationList const train(camvid + "/train.txt", {.classes = 11, .ignore = 11});
  mp::SegmentationList const val(camvid + "/val.txt", {.classes = 11, .ignore = 11});
  CHECK(train.size() == 367);
  REQUIRE(val.size() == 101);
  std::array<double, 256> shares{};
  for (std::int64_t i = 0; i < val.size(); ++i) {
    auto const sample = val.load(i);
    CHECK(sample.image.extent() == mp::ImageExtent{360, 480});
    for (auto const label : sample.labels.values) shares[label] += 1.0 / (101 * 360 * 480);
  }
  std::array<double, 11> const published{0.0918, 0.2596, 0.0056, 0.2895, 0.0872, 0.1634,
                                         0.0089, 0.0308, 0.0175, 0.0065, 0.0222};
  for (std::size_t c = 0; c < published.size(); ++c) CHECK(std::abs(shares[c] - published[c]) < 5.1e-5);
  CHECK(std::abs(shares[mp::ignored_label] - 0.0170) < 5.1e-5);
  mp::ChannelStatistics const statistics = mp::channel_statistics(train);
  std::array<double, 3> const mean{0.4119, 0.4251, 0.4327}, deviation{0.3071, 0.3116, 0.3072};
  for (std::size_t c = 0; c < 3; ++c) {
    CHECK(std::abs(statistics.mean[c] - mean[c]) < 1e-3);  // of the original PNG images; these are JPEG
    CHECK(std::abs(statistics.std[c] - deviation[c]) < 1e-3);
  }
}
