// SPDX-License-Identifier: Apache-2.0
// The drawn data set: the same everywhere, balanced, varied, and the same image whatever was drawn before it.
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <random>
#include <set>

#include <mixprec/data/drawn.hpp>

#include "../io/temporary_directory.hpp"

namespace mp = mixprec;

namespace {

std::uint64_t digest(std::vector<std::uint8_t> const& bytes) {
  std::uint64_t hash = 0xcbf29ce484222325;  // FNV-1a
  for (auto const byte : bytes) hash = (hash ^ byte) * 0x100000001b3;
  return hash;
}

}  // namespace

TEST_CASE("drawn data: two calls give the same bytes, and other seeds give other images") {
  std::uint64_t const seed = 424242;
  mp::ImageDataset const first = mp::draw_dataset(200, seed), again = mp::draw_dataset(200, seed);
  CHECK(first.images == again.images);
  CHECK(first.labels == again.labels);
  mp::validate(first);
  CHECK(first.class_names.size() == 10);

  std::set<std::vector<std::uint8_t>> distinct;
  mp::ImageDataset const other = mp::draw_dataset(200, seed + 1);
  for (auto const* data : {&first, &other}) {
    for (auto at = data->images.begin(); at != data->images.end(); at += 784) distinct.emplace(at, at + 784);
  }
  CHECK(distinct.size() == 400);
}

TEST_CASE("drawn data: an image depends on its seed and index alone") {
  std::uint64_t const seed = 424242;
  mp::ImageDataset const data = mp::draw_dataset(50, seed);
  std::array<std::uint8_t, 784> pixels;
  for (std::size_t const index : {49, 7, 0}) {
    pixels.fill(0xa5);
    CHECK(mp::draw_image(seed, index, pixels) == data.labels[index]);
    CHECK(std::equal(pixels.begin(), pixels.end(), data.images.begin() + static_cast<std::ptrdiff_t>(index * 784)));
  }
  CHECK(mp::draw_dataset(0, seed).size() == 0);
  CHECK(!message_of<mp::Error>([&] { mp::draw_dataset(-1, seed); }).empty());
}

TEST_CASE("drawn data: classes are balanced, and every image has contrast") {
  mp::ImageDataset const data = mp::draw_dataset(1000, 5);
  std::array<int, 10> counts{};
  for (auto const label : data.labels) ++counts[label];
  CHECK(std::all_of(counts.begin(), counts.end(), [](int count) { return count == 100; }));
  for (std::size_t i = 0; i < 1000; ++i) {
    auto const begin = data.images.begin() + static_cast<std::ptrdiff_t>(i * 784);
    auto const [low, high] = std::minmax_element(begin, begin + 784);
    CHECK(*high - *low >= 30);
  }
  mp::ChannelStatistics const statistics = mp::channel_statistics(data);
  CHECK(statistics.mean[0] > 0.3);
  CHECK(statistics.mean[0] < 0.7);
  CHECK(statistics.std[0] > 0.1);
}

TEST_CASE("drawn data: the bytes are the recorded ones, whatever the compiler and the machine") {
  // A change of the drawing changes accuracies that users know; it must be meant, and this number be renewed with it.
  CHECK(digest(mp::draw_dataset(500, 1).images) == 13231279612096661799u);
}
