// SPDX-License-Identifier: Apache-2.0
// The IDX reader: whole files are read exactly, and every kind of damage ends in an Error that names file and format.
#include <doctest/doctest.h>

#include <zlib.h>

#include <cmath>
#include <cstdlib>
#include <random>

#include <mixprec/data/idx.hpp>

#include "../has.hpp"
#include "../io/temporary_directory.hpp"
#include "../skip.hpp"

namespace mp = mixprec;
using mp::test::has;

namespace {

std::string word(std::uint32_t value) {
  std::string text;
  for (int shift = 24; shift >= 0; shift -= 8) text += static_cast<char>(value >> shift & 255);
  return text;
}

std::string images_header(std::uint32_t count, std::uint32_t rows, std::uint32_t columns) {
  return word(0x803) + word(count) + word(rows) + word(columns);
}

std::string gzip(std::string const& content) {
  z_stream stream{};
  REQUIRE(deflateInit2(&stream, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) == Z_OK);
  std::string out(deflateBound(&stream, content.size()) + 64, '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(content.data()));
  stream.avail_in = static_cast<uInt>(content.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  REQUIRE(deflate(&stream, Z_FINISH) == Z_STREAM_END);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

// What reading `content` as images says; empty where it is accepted. Accepted pixels go to `pixels`.
std::string images_problem(TemporaryDirectory const& directory, std::string const& name, std::string const& content,
                           std::vector<std::uint8_t>* pixels = nullptr) {
  std::string const path = directory.put(name, content);
  return message_of<mp::Error>([&] {
    mp::IdxImages images = mp::read_idx_images(path);
    if (pixels != nullptr) *pixels = std::move(images.pixels);
  });
}

std::string labels_problem(TemporaryDirectory const& directory, std::string const& content, int classes) {
  std::string const path = directory.put("labels", content);
  return message_of<mp::Error>([&] { mp::read_idx_labels(path, classes); });
}

std::string random_content(std::size_t count) {
  std::mt19937 random(424242);
  std::string content(count, '\0');
  for (char& c : content) c = static_cast<char>(random() % 16);
  return content;
}

}  // namespace

TEST_CASE("IDX: images and labels come back, plain, gzip, and gzip in several streams") {
  TemporaryDirectory const directory;
  // More than the reader's buffer and its first allocation, so that both are refilled.
  std::string const body = random_content(1500 * 28 * 28), whole = images_header(1500, 28, 28) + body;
  std::string const split = gzip(whole.substr(0, 7)) + gzip("") + gzip(whole.substr(7));
  for (auto const& [name, content] : {std::pair<std::string, std::string>{"plain", whole},
                                      {"images.gz", gzip(whole)},
                                      {"without-suffix", gzip(whole)},
                                      {"split.gz", split}}) {
    mp::IdxImages const images = mp::read_idx_images(directory.put(name, content));
    CHECK(images.count == 1500);
    CHECK(images.rows == 28);
    CHECK(images.columns == 28);
    CHECK(std::string(images.pixels.begin(), images.pixels.end()) == body);
  }
  mp::IdxLabels const labels = mp::read_idx_labels(directory.put("labels", word(0x801) + word(3) + "\1\11\2"), 10);
  CHECK(labels.labels == std::vector<std::uint8_t>{1, 9, 2});
}

TEST_CASE("IDX: every truncation of a plain and of a gzip file is refused by name") {
  TemporaryDirectory const directory;
  std::string const whole = images_header(2, 3, 4) + random_content(24);
  std::string const packed = gzip(whole);
  for (auto const& [name, content] : {std::pair{std::string("images"), whole}, {std::string("images.gz"), packed}}) {
    CHECK(images_problem(directory, name, content).empty());
    for (std::size_t length = 0; length < content.size(); ++length) {
      std::string const problem = images_problem(directory, name, content.substr(0, length));
      CAPTURE(length);
      CHECK(has(problem, "IDX file '" + (directory / name) + "'"));
    }
  }
}

TEST_CASE("IDX: bytes behind the content are refused") {
  TemporaryDirectory const directory;
  std::string const whole = images_header(2, 3, 4) + random_content(24);
  CHECK(has(images_problem(directory, "images", whole + "x"), "is oversized"));
  CHECK(has(images_problem(directory, "images.gz", gzip(whole + "x")), "is oversized"));
  CHECK(has(images_problem(directory, "images.gz", gzip(whole) + gzip("x")), "is oversized"));
  CHECK(has(images_problem(directory, "images.gz", gzip(whole) + "x"), "IDX"));
  CHECK(has(images_problem(directory, "images.gz", gzip(whole) + std::string(1, '\0')), "IDX"));
}

TEST_CASE("IDX: flipping any bit of a gzip file gives an error or the undamaged pixels") {
  TemporaryDirectory const directory;
  std::string const whole = images_header(3, 5, 4) + random_content(60);
  std::string const packed = gzip(whole);
  int refused = 0;
  for (std::size_t bit = 0; bit < packed.size() * 8; ++bit) {
    std::string damaged = packed;
    damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ (1 << bit % 8));
    std::vector<std::uint8_t> pixels;
    std::string const problem = images_problem(directory, "images.gz", damaged, &pixels);
    CAPTURE(bit);
    if (problem.empty()) {
      CHECK(std::string(pixels.begin(), pixels.end()) == whole.substr(16));
    } else {
      CHECK(has(problem, "IDX file"));
      ++refused;
    }
  }
  // Only gzip's time, flags and system bytes carry no meaning.
  CHECK(refused >= static_cast<int>(packed.size() - 10) * 8);
}

TEST_CASE("IDX: flipping any bit of a plain file's header is refused, and random bytes never read out of bounds") {
  TemporaryDirectory const directory;
  std::string const whole = images_header(2, 3, 5) + random_content(30);
  for (std::size_t bit = 0; bit < 16 * 8; ++bit) {
    std::string damaged = whole;
    damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ (1 << bit % 8));
    CAPTURE(bit);
    CHECK(has(images_problem(directory, "images", damaged), "IDX file"));
  }
  std::mt19937 random(424242);
  for (int round = 0; round < 300; ++round) {
    std::string noise = gzip(whole);
    for (int change = 0; change < 4; ++change) noise[random() % noise.size()] = static_cast<char>(random());
    std::vector<std::uint8_t> pixels;
    if (images_problem(directory, "images", noise, &pixels).empty()) CHECK(pixels.size() == 30);
  }
}

TEST_CASE("IDX: a header that claims more than the file holds is refused without the memory that it claims") {
  TemporaryDirectory const directory;
  // 4 GiB claimed, the largest allowed, by files of a few bytes.
  std::string const claim = images_header(65536, 256, 256);
  CHECK(has(images_problem(directory, "images", claim + "xyz"), "promises 4294967296 bytes, but 3 follow it"));
  CHECK(has(images_problem(directory, "images.gz", gzip(claim + "xyz")), "promises 4294967296 bytes, but 3 follow it"));
  CHECK(has(images_problem(directory, "images", images_header(65537, 256, 256)), "columns = 256, 4295032832 bytes"));
  CHECK(has(images_problem(directory, "images", images_header(0x7fffffff, 0x7fffffff, 2)), "rows = 2147483647"));
  CHECK(has(images_problem(directory, "images", images_header(0x80000000, 1, 1)), "count = 2147483648"));
  // A gzip that would unfold to 64 MiB is read no further than its header's 12 bytes and one more.
  std::string const bomb = gzip(images_header(1, 3, 4) + std::string(std::size_t{64} << 20, '\0'));
  CHECK(bomb.size() < 100000);
  CHECK(has(images_problem(directory, "images.gz", bomb), "is oversized: bytes follow the 12"));
}

TEST_CASE("IDX: mislabelled files are refused with their values") {
  TemporaryDirectory const directory;
  std::string const images = images_header(1, 2, 2) + "abcd", labels = word(0x801) + word(2) + std::string("\0\12", 2);
  CHECK(has(images_problem(directory, "images", labels), "0x00000801, labels, not 0x00000803, images"));
  CHECK(has(labels_problem(directory, images, 10), "0x00000803, images, not 0x00000801, labels"));
  CHECK(has(images_problem(directory, "images", word(0x03080000) + "abcd"), "0x03080000, not"));
  CHECK(has(labels_problem(directory, labels, 10), "has label 10 at index 1, but there are 10 classes"));
  CHECK(labels_problem(directory, labels, 11).empty());
  CHECK(has(labels_problem(directory, word(0x801) + word(0), 10), "count = 0"));
  CHECK(has(images_problem(directory, "images", images_header(1, 0, 2)), "rows = 0"));
  CHECK(has(images_problem(directory, "images", images_header(1, 2, 0)), "columns = 0"));
  CHECK(has(images_problem(directory, "images.gz", images), "is not gzip"));
  CHECK(has(images_problem(directory, "images", ""), "truncated"));
  CHECK(has(message_of<mp::Error>([&] { mp::read_idx_images(directory / "absent"); }), "cannot be opened"));
  CHECK(has(message_of<mp::Error>([&] { mp::read_idx_images(directory / "."); }), "is not a regular file"));
  std::string const pair = message_of<mp::Error>([&] {
    mp::read_idx_dataset(directory.put("images", images), directory.put("labels", word(0x801) + word(2) + "\1\1"),
                         {"a", "b"});
  });
  CHECK(has(pair, "holds 1 images, but '" + (directory / "labels") + "' holds 2 labels"));
}

TEST_CASE("image data sets: inconsistent ones are refused, and statistics follow their definition") {
  mp::ImageDataset data{2, 2, 1, 2, {0, 10, 255, 10, 100, 10, 7, 10}, {0, 1}, {}};
  mp::ChannelStatistics const statistics = mp::channel_statistics(data);
  double mean = 0, square = 0;
  for (int const x : {0, 255, 100, 7}) mean += x / 255.0 / 4;
  for (int const x : {0, 255, 100, 7}) square += (x / 255.0 - mean) * (x / 255.0 - mean) / 4;
  CHECK(std::abs(statistics.mean[0] - mean) < 1e-14);
  CHECK(std::abs(statistics.std[0] - std::sqrt(square)) < 1e-14);
  CHECK(std::abs(statistics.mean[1] - 10 / 255.0) < 1e-14);
  CHECK(statistics.std[1] == 0);
  auto const problem = [](mp::ImageDataset const& broken) {
    return message_of<mp::Error>([&] { mp::validate(broken); });
  };
  CHECK(problem(data).empty());
  mp::ImageDataset broken = data;
  broken.images.pop_back();
  CHECK(has(problem(broken), "7 image bytes for 2 labels of 4 bytes"));
  broken = data;
  broken.labels[1] = 2;
  CHECK(has(problem(broken), "label 1 is 2 of 2 classes"));
  broken = data;
  broken.class_names = {"one"};
  CHECK(has(problem(broken), "1 class names for 2 classes"));
  broken = data;
  broken.width = 0;
  CHECK(has(problem(broken), "0 classes of") == false);
  CHECK(has(problem(broken), "1x0x2 images"));
}

TEST_CASE("IDX: Fashion-MNIST has its published counts, classes, mean and standard deviation") {
  char const* const data = std::getenv("MIXPREC_TEST_DATA");
  if (data == nullptr && skipped("MIXPREC_TEST_DATA is not set")) return;
  mp::TrainTest const sets = mp::load_fashion_mnist(std::string(data) + "/fashion_mnist");
  auto const check = [](mp::ImageDataset const& set, std::int64_t count, double mean, double deviation) {
    CHECK(set.size() == count);
    CHECK(set.classes == 10);
    CHECK(set.height == 28);
    CHECK(set.width == 28);
    CHECK(set.class_names[9] == "Ankle boot");
    std::vector<std::int64_t> counts(10);
    for (auto const label : set.labels) ++counts[label];
    CHECK(counts == std::vector<std::int64_t>(10, count / 10));
    mp::ChannelStatistics const statistics = mp::channel_statistics(set);
    CHECK(std::abs(statistics.mean[0] - mean) < 5e-9);
    CHECK(std::abs(statistics.std[0] - deviation) < 5e-9);
  };
  check(sets.train, 60000, 0.28604060, 0.35302424);
  check(sets.test, 10000, 0.28684928, 0.35244415);
  CHECK(std::vector(sets.train.labels.begin(), sets.train.labels.begin() + 4) == std::vector<std::uint8_t>{9, 0, 0, 3});
}
