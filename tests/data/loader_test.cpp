// SPDX-License-Identifier: Apache-2.0
// The loader: every image once an epoch, the same whatever the timing, nothing allocated, and a thread that never
// hangs.
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <limits>
#include <memory>
#include <random>
#include <set>
#include <stdexcept>
#include <thread>

#include <mixprec/data/loader.hpp>

#include "../has.hpp"
#include "../io/temporary_directory.hpp"

namespace mp = mixprec;
using mp::test::has;

namespace {

// Image i is filled with its index in the first pixel (two channels: low and high byte); the rest is random.
mp::ImageDataset numbered(int count, int height = 3, int width = 4) {
  std::mt19937 random(20240611);
  mp::ImageDataset data{10, 2, height, width, {}, {}, {}};
  for (int i = 0; i < count; ++i) {
    std::size_t const start = data.images.size();
    for (std::size_t k = 0; k < data.image_bytes(); ++k) data.images.push_back(static_cast<std::uint8_t>(random()));
    data.images[start] = static_cast<std::uint8_t>(i % 256);
    data.images[start + 1] = static_cast<std::uint8_t>(i / 256);
    data.labels.push_back(static_cast<std::uint8_t>(i % 10));
  }
  return data;
}

// With mean 0 and deviation 1/255 every normalised value is the pixel's own, to one rounding.
mp::ChannelStatistics const as_pixels{{0, 0}, {1 / 255.0, 1 / 255.0}};

std::vector<int> indices_of(mp::Loader& loader, std::int64_t epoch) {
  std::vector<int> indices;
  auto const image_floats = loader.dataset().image_bytes();
  for (mp::HostBatch const& batch : loader.epoch(epoch)) {
    CHECK(batch.images.size() == static_cast<std::size_t>(batch.count) * image_floats);
    CHECK(batch.labels.size() == static_cast<std::size_t>(batch.count));
    for (std::size_t i = 0; i < batch.labels.size(); ++i) {
      int const index = static_cast<int>(batch.images[i * image_floats] + 0.5f) +
                        256 * static_cast<int>(batch.images[i * image_floats + 1] + 0.5f);
      CHECK(batch.labels[i] == index % 10);
      indices.push_back(index);
    }
  }
  return indices;
}

std::vector<int> counted(int count) {
  std::vector<int> indices;
  for (int i = 0; i < count; ++i) indices.push_back(i);
  return indices;
}

}  // namespace

TEST_CASE("loader: an epoch holds every image once, in an order of (seed, epoch) alone") {
  mp::ImageDataset const data = numbered(1003);
  mp::Loader loader(data, {.batch_size = 64, .seed = 7, .normalization = as_pixels});
  CHECK(loader.batches_per_epoch() == 16);
  std::vector<int> const first = indices_of(loader, 0), second = indices_of(loader, 1);
  for (auto order : {first, second}) {
    CHECK(order != counted(1003));
    std::sort(order.begin(), order.end());
    CHECK(order == counted(1003));
  }
  CHECK(first != second);
  CHECK(indices_of(loader, 0) == first);
  mp::Loader other_batches(data, {.batch_size = 17, .seed = 7, .normalization = as_pixels, .prefetch = 1});
  CHECK(indices_of(other_batches, 0) == first);
  mp::Loader other_seed(data, {.batch_size = 64, .seed = 8, .normalization = as_pixels});
  CHECK(indices_of(other_seed, 0) != first);
  mp::Loader in_order(data, {.batch_size = 64, .shuffle = false, .normalization = as_pixels});
  CHECK(indices_of(in_order, 3) == counted(1003));
}

TEST_CASE("loader: drop_last leaves out the partial batch and no full one") {
  for (int const count : {63, 64, 65, 127, 128}) {
    mp::ImageDataset const data = numbered(count);
    mp::Loader keep(data, {.batch_size = 32, .normalization = as_pixels});
    mp::Loader drop(data, {.batch_size = 32, .drop_last = true, .normalization = as_pixels});
    CHECK(keep.batches_per_epoch() == (count + 31) / 32);
    CHECK(drop.batches_per_epoch() == count / 32);
    CHECK(indices_of(keep, 0).size() == static_cast<std::size_t>(count));
    CHECK(indices_of(drop, 0).size() == static_cast<std::size_t>(count / 32 * 32));
  }
}

TEST_CASE("loader: shuffling puts every image in every place equally often") {
  mp::ImageDataset const data = numbered(6);
  mp::Loader loader(data, {.batch_size = 6, .seed = 20240611, .normalization = as_pixels});
  std::array<std::array<int, 6>, 6> counts{};
  int const epochs = 1500;
  for (int epoch = 0; epoch < epochs; ++epoch) {
    std::vector<int> const order = indices_of(loader, epoch);
    for (std::size_t place = 0; place < 6; ++place) ++counts[place][static_cast<std::size_t>(order[place])];
  }
  // 250 expected; the standard deviation of a count is 14.4, and six of them is one failure in ten million runs.
  for (auto const& row : counts) {
    for (int const count : row) CHECK(std::abs(count - epochs / 6) < 87);
  }
}

TEST_CASE("loader: pixels are normalised with the given statistics, and with the data set's own by default") {
  mp::ImageDataset const data = numbered(40);
  auto const check = [&](mp::Loader& loader, mp::ChannelStatistics const& statistics) {
    std::size_t at = 0;
    for (mp::HostBatch const& batch : loader.epoch(0)) {
      for (float const value : batch.images) {
        double const expected = (data.images[at] / 255.0 - statistics.mean[at % 2]) / statistics.std[at % 2];
        CHECK(std::abs(value - expected) <= double{std::numeric_limits<float>::epsilon()} * std::abs(expected));
        ++at;
      }
    }
    CHECK(at == data.images.size());
  };
  mp::ChannelStatistics const given{{0.25, 0.5}, {0.5, 2}};
  mp::Loader with_given(data, {.batch_size = 16, .shuffle = false, .normalization = given});
  check(with_given, given);
  mp::Loader with_own(data, {.batch_size = 16, .shuffle = false});
  check(with_own, mp::channel_statistics(data));
}

TEST_CASE("loader: crops and flips are one of the allowed ones, all occur, and depend on (seed, epoch, index) alone") {
  int const height = 5, width = 4, padding = 2, count = 900;
  mp::ImageDataset const data = numbered(count, height, width);
  mp::LoaderOptions options{.batch_size = 50, .seed = 20240611, .normalization = as_pixels};
  options.crop_padding = padding;
  options.horizontal_flip = true;
  options.shuffle = false;
  mp::Loader loader(data, options);
  std::set<std::array<int, 3>> seen;
  std::vector<float> all;
  std::size_t index = 0;
  for (mp::HostBatch const& batch : loader.epoch(4)) {
    all.insert(all.end(), batch.images.begin(), batch.images.end());
    for (std::int64_t i = 0; i < batch.count; ++i, ++index) {
      float const* const image = batch.images.data() + static_cast<std::size_t>(i) * data.image_bytes();
      int matches = 0;
      for (int down = -padding; down <= padding; ++down) {
        for (int right = -padding; right <= padding; ++right) {
          for (int mirrored = 0; mirrored < 2; ++mirrored) {
            bool same = true;
            for (int k = 0; k < height * width * 2 && same; ++k) {
              int const c = k % 2, row = k / 2 / width + down, column = k / 2 % width;
              int const from = (mirrored == 1 ? width - 1 - column : column) + right;
              bool const inside = row >= 0 && row < height && from >= 0 && from < width;
              std::size_t const at =
                  index * data.image_bytes() + (inside ? static_cast<std::size_t>((row * width + from) * 2 + c) : 0);
              same = std::abs(image[k] - (inside ? static_cast<float>(data.images[at]) : 0.0f)) < 0.01f;
            }
            if (!same) continue;
            ++matches;
            seen.insert({down, right, mirrored});
          }
        }
      }
      CHECK(matches >= 1);
    }
  }
  CHECK(seen.size() == 50);

  options.shuffle = true;
  options.batch_size = 37;
  mp::Loader shuffled(data, options);
  std::multiset<std::vector<float>> one, two;
  for (mp::HostBatch const& batch : shuffled.epoch(4)) {
    for (auto at = batch.images.begin(); at != batch.images.end(); at += height * width * 2) {
      one.emplace(at, at + height * width * 2);
    }
  }
  for (auto at = all.begin(); at != all.end(); at += height * width * 2) two.emplace(at, at + height * width * 2);
  CHECK(one == two);

  options.shuffle = false;
  mp::Loader later(data, options);
  std::vector<float> next_epoch;
  for (mp::HostBatch const& batch : later.epoch(5)) {
    next_epoch.insert(next_epoch.end(), batch.images.begin(), batch.images.end());
  }
  CHECK(next_epoch != all);
}

TEST_CASE("loader: later epochs use the first one's buffers") {
  mp::ImageDataset const data = numbered(500);
  mp::Loader loader(data, {.batch_size = 32, .prefetch = 2});
  std::set<float const*> buffers;
  for (mp::HostBatch const& batch : loader.epoch(0)) buffers.insert(batch.images.data());
  CHECK(buffers.size() == 3);
  for (int epoch = 1; epoch < 4; ++epoch) {
    for (mp::HostBatch const& batch : loader.epoch(epoch)) CHECK(buffers.count(batch.images.data()) == 1);
  }
}

TEST_CASE("loader: an epoch can be left at any batch, by a break or an exception, and two can run at once") {
  mp::ImageDataset const data = numbered(300);
  mp::Loader loader(data, {.batch_size = 8, .normalization = as_pixels, .prefetch = 2});
  std::vector<int> const whole = indices_of(loader, 2);
  for (int leave = 0; leave < 38; ++leave) {
    int batches = 0;
    for ([[maybe_unused]] mp::HostBatch const& batch : loader.epoch(2)) {
      if (batches++ == leave) break;
    }
    CHECK(batches == leave + 1);
  }
  { [[maybe_unused]] auto never_walked = loader.epoch(1); }
  CHECK_THROWS_AS(
      [&] {
        for ([[maybe_unused]] mp::HostBatch const& batch : loader.epoch(2)) throw std::runtime_error("user");
      }(),
      std::runtime_error);
  {
    auto outer = loader.epoch(2);
    auto const first = outer.begin();
    float const kept = first->images[0];
    CHECK(indices_of(loader, 2) == whole);
    CHECK(first->images[0] == kept);
  }
  CHECK(indices_of(loader, 2) == whole);
}

TEST_CASE("loader: options that make no sense are refused with their values") {
  mp::ImageDataset const data = numbered(20);
  auto const problem = [&](mp::LoaderOptions const& options) {
    return message_of<mp::Error>([&] { mp::Loader loader(data, options); });
  };
  CHECK(problem({}).empty());
  CHECK(has(problem({.batch_size = 0}), "batch_size is 0"));
  CHECK(has(problem({.batch_size = 21, .drop_last = true}), "20 images and batch_size 21"));
  CHECK(has(problem({.normalization = {{0.5}, {0.5}}}), "1 means and 1 deviations for 2 channels"));
  CHECK(has(problem({.normalization = {{0, 0}, {1, 0}}}), "normalization.std is 0"));
  CHECK(has(problem({.crop_padding = -1}), "crop_padding is -1"));
  CHECK(has(problem({.crop_padding = 3}), "crop_padding is 3"));
  CHECK(has(problem({.prefetch = 0}), "prefetch is 0"));
  mp::ImageDataset const empty{10, 1, 2, 2, {}, {}, {}};
  CHECK(has(message_of<mp::Error>([&] { mp::Loader loader(empty, {}); }), "is empty"));
}

TEST_CASE("prefetcher: results come in order, at most slots - 1 ahead, and an exception arrives in its place") {
  std::vector<std::int64_t> slots(3, -1);
  std::atomic<std::int64_t> filled{0};
  std::atomic<std::int64_t> furthest{0};
  std::atomic<std::int64_t> wanted{0};
  auto const fill = [&](std::int64_t& slot, std::int64_t index) {
    furthest = std::max(furthest.load(), index - wanted.load());
    if (index == 40) throw std::runtime_error("fill 40 failed");
    slot = index;
    ++filled;
  };
  mp::Prefetcher<std::int64_t, decltype(fill)> prefetcher(slots, 100, fill);
  for (std::int64_t i = 0; i < 40; ++i) {
    wanted = i;
    if (i % 16 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(5));
    std::int64_t const* const result = prefetcher.next();
    REQUIRE(result != nullptr);
    CHECK(*result == i);
  }
  for (int again = 0; again < 2; ++again) {
    CHECK(message_of<std::runtime_error>([&] { prefetcher.next(); }) == "fill 40 failed");
  }
  CHECK(filled == 40);
  CHECK(furthest <= 2);
  CHECK(!message_of<mp::Error>([&] {
           mp::Prefetcher<std::int64_t, decltype(fill)>(std::span(slots).first(1), 1, fill);
         }).empty());
}

TEST_CASE("prefetcher: ends at once wherever its consumer stops, also while a fill is under way") {
  std::vector<int> slots(2);
  for (int taken = 0; taken < 30; ++taken) {
    auto const fill = [&](int& slot, std::int64_t index) {
      if (index % 3 == 0) std::this_thread::sleep_for(std::chrono::microseconds(200));
      slot = static_cast<int>(index);
    };
    mp::Prefetcher<int, decltype(fill)> prefetcher(slots, 25, fill);
    for (int i = 0; i < taken; ++i) {
      int const* const result = prefetcher.next();
      CHECK((result != nullptr) == (i < 25));
    }
  }
}

namespace {

/// Batches that hold nothing but the number of their first image, and a count of those that were made.
struct CountingFill {
  std::atomic<int>* made;
  std::int64_t size() const { return 103; }
  void operator()(mp::HostBatch& batch, std::span<std::uint32_t const> indices, std::int64_t) const {
    ++*made;
    batch.count = static_cast<std::int64_t>(indices.size());
    batch.labels.assign(indices.begin(), indices.end());
  }
};
struct CountingLoader : mp::EpochLoader<CountingFill> {
  CountingLoader(std::atomic<int>& made, mp::EpochOptions const& options) : EpochLoader(options, CountingFill{&made}) {}
};

}  // namespace

TEST_CASE("loader: an epoch that starts in its middle has the whole epoch's batches, and makes none before them") {
  std::atomic<int> made{0};
  for (bool const drop_last : {false, true}) {
    CountingLoader loader(made, {.batch_size = 10, .drop_last = drop_last, .seed = 4, .prefetch = 2});
    std::int64_t const count = loader.batches_per_epoch();
    CHECK(count == (drop_last ? 10 : 11));
    std::vector<std::vector<std::int32_t>> whole;
    for (mp::HostBatch const& batch : loader.epoch(7)) whole.push_back(batch.labels);
    for (std::int64_t first = 0; first <= count; ++first) {
      made = 0;
      std::vector<std::vector<std::int32_t>> part;
      for (mp::HostBatch const& batch : loader.epoch(7, first)) {
        CHECK(batch.count == static_cast<std::int64_t>(batch.labels.size()));
        part.push_back(batch.labels);
      }
      CHECK(part == std::vector(whole.begin() + first, whole.end()));
      CHECK(made == static_cast<int>(count - first));
    }
    for (std::int64_t const first : {std::int64_t{-1}, count + 1}) {
      std::string const message = message_of<mp::Error>([&] { loader.epoch(7, first); });
      CHECK(has(message, "first_batch is " + std::to_string(first) + ", and an epoch has " + std::to_string(count)));
    }
  }
}
