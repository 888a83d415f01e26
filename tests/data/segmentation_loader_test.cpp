// SPDX-License-Identifier: Apache-2.0
// The drawn segmentation set, and the loader that makes batches of it: the same whatever the threads, the batches and
// the timing.
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <set>
#include <string>

#include <mixprec/data/drawn_segmentation.hpp>
#include <mixprec/data/segmentation_loader.hpp>

#include "../has.hpp"
#include "../io/temporary_directory.hpp"

namespace mp = mixprec;
using mp::test::has;

namespace {

// With mean 0 and deviation 1/255 every normalised value is the pixel's own, to one rounding.
mp::ChannelStatistics const rgb_as_pixels{{0, 0, 0}, {1 / 255.0, 1 / 255.0, 1 / 255.0}};

// Sample i is uniform with the value i, in a size of its own where `sizes` differ.
mp::SegmentationMemory numbered_samples(int count, int step = 0) {
  std::vector<mp::SegmentationSample> samples;
  for (int i = 0; i < count; ++i) {
    int const height = 6 + step * i, width = 9;
    auto const value = static_cast<std::uint8_t>(i);
    auto const pixels = static_cast<std::size_t>(height * width);
    samples.push_back({{height, width, 3, std::vector<std::uint8_t>(3 * pixels, value)},
                       {height, width, std::vector<std::uint8_t>(pixels, static_cast<std::uint8_t>(i % 5))}});
  }
  return {std::move(samples), 5};
}

struct Row {
  std::vector<float> image;
  std::vector<std::int32_t> labels;
  bool operator<(Row const& other) const { return std::tie(image, labels) < std::tie(other.image, other.labels); }
  bool operator==(Row const&) const = default;
};

template <class Source>
std::vector<Row> rows_of(Source const& source, mp::SegmentationLoaderOptions const& options, std::int64_t epoch) {
  mp::SegmentationLoader loader(source, options);
  std::vector<Row> rows;
  for (mp::HostBatch const& batch : loader.epoch(epoch)) {
    std::size_t const pixels = mp::ImageExtent{batch.height, batch.width}.pixels();
    CHECK(batch.images.size() == static_cast<std::size_t>(batch.count) * 3 * pixels);
    CHECK(batch.labels.size() == static_cast<std::size_t>(batch.count) * pixels);
    for (std::int64_t i = 0; i < batch.count; ++i) {
      auto const image = batch.images.begin() + i * static_cast<std::int64_t>(3 * pixels);
      auto const labels = batch.labels.begin() + i * static_cast<std::int64_t>(pixels);
      rows.push_back({{image, image + static_cast<std::int64_t>(3 * pixels)},
                      {labels, labels + static_cast<std::int64_t>(pixels)}});
    }
  }
  return rows;
}

std::uint64_t digest(mp::DrawnSegmentation const& drawn) {
  std::uint64_t hash = 0xcbf29ce484222325;  // FNV-1a
  for (std::int64_t i = 0; i < drawn.size(); ++i) {
    auto const sample = drawn.load(i);
    for (auto const* bytes : {&sample.image.pixels, &sample.labels.values}) {
      for (auto const byte : *bytes) hash = (hash ^ byte) * 0x100000001b3;
    }
  }
  return hash;
}

}  // namespace

TEST_CASE("drawn segmentation: samples are sound, distinct, and functions of seed and index") {
  mp::DrawnSegmentation const drawn(60, 424242), other(60, 424243), more(61, 424242);
  std::set<std::vector<std::uint8_t>> distinct;
  for (std::int64_t i = 59; i >= 0; --i) {
    auto const sample = drawn.load(i);
    mp::validate(sample, mp::drawn_segmentation_classes);
    CHECK(sample.image.extent() == mp::ImageExtent{96, 128});
    CHECK(sample.image.pixels == more.load(i).image.pixels);
    distinct.insert(sample.image.pixels);
    distinct.insert(other.load(i).image.pixels);
  }
  CHECK(distinct.size() == 120);
  mp::DrawnSegmentation const large(1, 1, {300, 200});
  CHECK(large.load(0).image.extent() == mp::ImageExtent{300, 200});
  CHECK(has(message_of<mp::Error>([&] { mp::DrawnSegmentation(-1, 1); }), "-1 images"));
  CHECK(has(message_of<mp::Error>([&] { mp::DrawnSegmentation(1, 1, {31, 64}); }), "31x64"));
}

TEST_CASE("drawn segmentation: every class has its share, and no class has a colour of its own") {
  mp::DrawnSegmentation const drawn(300, 5);
  std::array<double, mp::drawn_segmentation_classes> pixels{};
  std::array<std::array<double, 3>, mp::drawn_segmentation_classes> sums{};
  for (std::int64_t i = 0; i < drawn.size(); ++i) {
    auto const sample = drawn.load(i);
    for (std::size_t p = 0; p < sample.labels.values.size(); ++p) {
      std::size_t const label = sample.labels.values[p];
      ++pixels[label];
      for (std::size_t c = 0; c < 3; ++c) sums[label][c] += sample.image.pixels[3 * p + c];
    }
  }
  double const total = 300.0 * 96 * 128;
  CHECK(pixels[0] / total > 0.7);
  for (std::size_t label = 1; label < pixels.size(); ++label) CHECK(pixels[label] / total > 0.008);
  for (std::size_t label = 0; label < pixels.size(); ++label) {
    for (double const sum : sums[label]) CHECK(std::abs(sum / pixels[label] - 128) < 32);
  }
}

TEST_CASE("drawn segmentation: the bytes are the recorded ones, whatever the compiler and the machine") {
  // A change of the drawing changes accuracies that users know; it must be meant, and this number be renewed with it.
  CHECK(digest(mp::DrawnSegmentation(40, 1)) == 14928049543480956142u);
}

TEST_CASE("segmentation loader: a batch depends on (seed, epoch, index), not on threads, batches or timing") {
  mp::DrawnSegmentation const drawn(23, 1, {48, 64});
  mp::SegmentationLoaderOptions options{.batch_size = 5,
                                        .seed = 7,
                                        .normalization = rgb_as_pixels,
                                        .augmentation = mp::Augmentation{.crop = {40, 40}},
                                        .workers = 1};
  std::vector<Row> const first = rows_of(drawn, options, 2);
  CHECK(first.size() == 23);
  options.workers = 5;
  CHECK(rows_of(drawn, options, 2) == first);
  options.batch_size = 3;
  options.prefetch = 1;
  CHECK(rows_of(drawn, options, 2) == first);
  CHECK(rows_of(mp::SegmentationMemory(drawn), options, 2) == first);
  CHECK(rows_of(mp::SegmentationMemory(drawn, 4), options, 2) == first);
  options.shuffle = false;
  auto in_order = rows_of(drawn, options, 2), sorted = first;
  CHECK(in_order != first);
  std::sort(in_order.begin(), in_order.end());
  std::sort(sorted.begin(), sorted.end());
  CHECK(in_order == sorted);
  CHECK(rows_of(drawn, options, 3) != rows_of(drawn, options, 2));
  options.drop_last = true;
  CHECK(rows_of(drawn, options, 0).size() == 21);
}

TEST_CASE("segmentation loader: small images are padded with 0 and the ignored label, after normalisation") {
  mp::SegmentationMemory const data = numbered_samples(4);
  mp::ChannelStatistics const statistics{{0.25, 0.5, 0.75}, {0.5, 1, 2}};
  mp::Augmentation const keep{.crop = {8, 12}, .ratio = {1, 1}, .photometric = false};
  auto const rows = rows_of(data, {.shuffle = false, .normalization = statistics, .augmentation = keep}, 0);
  REQUIRE(rows.size() == 4);
  for (std::size_t i = 0; i < 4; ++i) {
    for (std::size_t p = 0; p < 8 * 12; ++p) {
      bool const inside = p / 12 < 6 && p % 12 < 9;
      CHECK(rows[i].labels[p] == (inside ? static_cast<int>(i) : 255));
      for (std::size_t c = 0; c < 3; ++c) {
        double const expected = (static_cast<double>(i) / 255 - statistics.mean[c]) / statistics.std[c];
        CHECK(rows[i].image[3 * p + c] == (inside ? static_cast<float>(expected) : 0.0f));
      }
    }
  }
}

TEST_CASE("segmentation loader: without augmentation images come whole, and of one size in a batch") {
  mp::DrawnSegmentation const drawn(5, 1);
  auto const rows = rows_of(drawn, {.batch_size = 2, .shuffle = false, .normalization = rgb_as_pixels}, 0);
  for (std::size_t i = 0; i < 5; ++i) {
    auto const sample = drawn.load(static_cast<std::int64_t>(i));
    CHECK(std::equal(rows[i].labels.begin(), rows[i].labels.end(), sample.labels.values.begin()));
    CHECK(std::equal(rows[i].image.begin(), rows[i].image.end(), sample.image.pixels.begin(),
                     [](float a, int b) { return std::abs(a - static_cast<float>(b)) < 1e-3f; }));
  }
  mp::SegmentationMemory const growing = numbered_samples(4, 1);
  CHECK(rows_of(growing, {.batch_size = 1, .normalization = rgb_as_pixels}, 0).size() == 4);
  CHECK(has(message_of<mp::Error>(
                [&] { rows_of(growing, {.batch_size = 4, .shuffle = false, .normalization = rgb_as_pixels}, 0); }),
            "image 1 is 7x9, and image 0 of its batch 6x9"));
}

TEST_CASE("segmentation loader: the set's own statistics are the default, and buffers are used again") {
  mp::DrawnSegmentation const drawn(12, 1);
  mp::SegmentationLoader loader(drawn, {.batch_size = 2, .augmentation = mp::Augmentation{.crop = {32, 32}}});
  CHECK(loader.options().normalization.mean == mp::channel_statistics(drawn).mean);
  CHECK(loader.batches_per_epoch() == 6);
  std::set<float const*> buffers;
  for (int epoch = 0; epoch < 3; ++epoch) {
    for (mp::HostBatch const& batch : loader.epoch(epoch)) buffers.insert(batch.images.data());
  }
  CHECK(buffers.size() == 3);
}

TEST_CASE("segmentation loader: options and samples that make no sense are refused with their values") {
  mp::DrawnSegmentation const drawn(3, 1), none(0, 1);
  auto const problem = [&](mp::SegmentationLoaderOptions const& options) {
    return message_of<mp::Error>([&] { mp::SegmentationLoader loader(drawn, options); });
  };
  CHECK(problem({}).empty());
  CHECK(has(problem({.batch_size = 0}), "batch_size is 0"));
  CHECK(has(problem({.batch_size = 4, .drop_last = true}), "3 images and batch_size 4"));
  CHECK(has(problem({.normalization = {{0.5}, {0.5}}}), "1 means and 1 deviations for 3 channels"));
  CHECK(has(problem({.augmentation = mp::Augmentation{}}), "crop.height is 0"));
  CHECK(has(problem({.workers = 0}), "workers is 0"));
  CHECK(has(problem({.prefetch = 0}), "prefetch is 0"));
  CHECK(has(message_of<mp::Error>([&] { mp::SegmentationLoader loader(none, {}); }), "is empty"));
  auto const refused = [&](mp::SegmentationSample sample) {
    return message_of<mp::Error>([&] { mp::SegmentationMemory({std::move(sample)}, 3); });
  };
  CHECK(refused({{1, 2, 3, std::vector<std::uint8_t>(6)}, {1, 2, {2, 255}}}).empty());
  CHECK(has(refused({{1, 2, 3, std::vector<std::uint8_t>(6)}, {1, 2, {2, 3}}}), "pixel 1 has label 3 of 3"));
  CHECK(has(refused({{1, 2, 1, std::vector<std::uint8_t>(2)}, {1, 2, {2, 2}}}), "1 channels"));
  CHECK(has(refused({{1, 2, 3, std::vector<std::uint8_t>(6)}, {2, 1, {2, 2}}}), "2x1"));
}
