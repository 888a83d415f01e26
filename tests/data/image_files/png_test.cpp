// SPDX-License-Identifier: Apache-2.0
// PNG: what is written comes back, every kind of file gives the pixels or labels it stands for, and no damaged file is
// believed.
#include <doctest/doctest.h>

#include <zlib.h>

#include <mixprec/data/png.hpp>

#include "../../has.hpp"
#include "../../io/temporary_directory.hpp"
#include "encode.hpp"

namespace mp = mixprec;
using mp::test::has;

namespace {

std::string png_problem(TemporaryDirectory const& directory, std::string const& content, mp::Image* image = nullptr) {
  std::string const path = directory.put("image.png", content);
  return message_of<mp::Error>([&] {
    mp::Image const read = mp::read_png(path);
    if (image != nullptr) *image = read;
  });
}

std::string labels_problem(TemporaryDirectory const& directory, std::string const& content) {
  std::string const path = directory.put("labels.png", content);
  return message_of<mp::Error>([&] { mp::read_png_labels(path); });
}

std::vector<std::string> rows_of(std::vector<std::uint8_t> const& bytes, std::size_t row_bytes) {
  std::vector<std::string> rows;
  for (std::size_t at = 0; at < bytes.size(); at += row_bytes) {
    rows.emplace_back(reinterpret_cast<char const*>(bytes.data()) + at, row_bytes);
  }
  return rows;
}

std::string small_file(bool interlaced = false) {
  return encode_png(9, rows_of(random_values(9 * 7 * 3, 256), 27), {.interlaced = interlaced});
}

std::string big_endian(std::uint32_t value) {
  std::string text;
  for (int shift = 24; shift >= 0; shift -= 8) text += static_cast<char>(value >> shift & 255);
  return text;
}

// `file` with another extent in its header, and the header's checksum right.
std::string claiming(std::string file, std::uint32_t width, std::uint32_t height) {
  file.replace(16, 8, big_endian(width) + big_endian(height));
  auto const checksum = crc32(0, reinterpret_cast<Bytef const*>(file.data()) + 12, 17);
  return file.replace(29, 4, big_endian(static_cast<std::uint32_t>(checksum)));
}

}  // namespace

TEST_CASE("PNG: grey and RGB images that are written come back") {
  TemporaryDirectory const directory;
  for (int const channels : {1, 3}) {
    for (auto const [height, width] : {mp::ImageExtent{1, 1}, {7, 5}, {64, 33}, {1, 200}, {200, 1}}) {
      mp::Image const image{height, width, channels,
                            random_values(static_cast<std::size_t>(height * width * channels), 256)};
      mp::write_png(directory / "image.png", image);
      mp::Image const read = mp::read_png(directory / "image.png");
      CHECK(read.extent() == image.extent());
      CHECK(read.channels == channels);
      CHECK(read.pixels == image.pixels);
    }
  }
  CHECK(directory.count() == 1);
}

TEST_CASE("PNG: palette files give colours as images and indices as labels, with 1, 2, 4 and 8 bits") {
  TemporaryDirectory const directory;
  for (int const bits : {1, 2, 4, 8}) {
    int const width = 13, height = 6;
    std::vector<png_color> palette;
    auto const colours = random_values(std::size_t{3} << bits, 256);
    for (std::size_t i = 0; i < colours.size(); i += 3) palette.push_back({colours[i], colours[i + 1], colours[i + 2]});
    auto const values = random_values(width * height, 1 << bits);
    std::string const path = directory.put(
        "palette.png", encode_png(width, packed(values, width, bits), {PNG_COLOR_TYPE_PALETTE, bits, false, palette}));
    mp::LabelMap const labels = mp::read_png_labels(path);
    CHECK(labels.extent() == mp::ImageExtent{height, width});
    CHECK(labels.values == values);
    mp::Image const image = mp::read_png(path);
    REQUIRE(image.channels == 3);
    for (std::size_t i = 0; i < image.pixels.size(); ++i) {
      CHECK(image.pixels[i] == colours[3u * values[i / 3] + i % 3]);
    }
  }
}

TEST_CASE("PNG: grey files give scaled values as images and their own values as labels, interlaced or not") {
  TemporaryDirectory const directory;
  for (bool const interlaced : {false, true}) {
    for (int const bits : {1, 2, 4, 8}) {
      int const width = 11, height = 9;
      auto const values = random_values(width * height, 1 << bits);
      std::string const path = directory.put(
          "grey.png", encode_png(width, packed(values, width, bits), {PNG_COLOR_TYPE_GRAY, bits, interlaced}));
      CHECK(mp::read_png_labels(path).values == values);
      mp::Image const image = mp::read_png(path);
      CHECK(image.channels == 1);
      for (std::size_t i = 0; i < values.size(); ++i) CHECK(image.pixels[i] == values[i] * 255 / ((1 << bits) - 1));
    }
  }
}

TEST_CASE("PNG: 16 bits become 8 in images, and alpha is dropped; neither is a label") {
  TemporaryDirectory const directory;
  auto const bytes = random_values(4 * 5 * 8, 256);
  struct Case {
    int type, bits, channels, kept;
  };
  for (auto const& [type, bits, channels, kept] : {Case{PNG_COLOR_TYPE_GRAY, 16, 1, 1},
                                                   {PNG_COLOR_TYPE_RGB, 16, 3, 3},
                                                   {PNG_COLOR_TYPE_RGB_ALPHA, 8, 4, 3},
                                                   {PNG_COLOR_TYPE_RGB_ALPHA, 16, 4, 3},
                                                   {PNG_COLOR_TYPE_GRAY_ALPHA, 8, 2, 1},
                                                   {PNG_COLOR_TYPE_RGB, 8, 3, 3}}) {
    std::size_t const step = static_cast<std::size_t>(bits / 8);
    std::size_t const row_bytes = 4 * step * static_cast<std::size_t>(channels);
    auto const used = std::vector(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(5 * row_bytes));
    std::string const content = encode_png(4, rows_of(used, row_bytes), {type, bits});
    mp::Image image;
    CHECK(png_problem(directory, content, &image).empty());
    REQUIRE(image.channels == kept);
    for (std::size_t pixel = 0; pixel < 20; ++pixel) {
      for (std::size_t c = 0; c < static_cast<std::size_t>(kept); ++c) {
        std::size_t const at = (pixel * static_cast<std::size_t>(channels) + c) * step;
        double const value = bits == 8 ? used[at] : (used[at] * 256 + used[at + 1]) / 257.0;
        CHECK(std::abs(image.pixels[pixel * static_cast<std::size_t>(kept) + c] - value) <= 0.51);
      }
    }
    CHECK(has(labels_problem(directory, content), type == PNG_COLOR_TYPE_GRAY ? "16-bit labels" : "colours or alpha"));
  }
}

TEST_CASE("PNG: every truncation is refused by name") {
  TemporaryDirectory const directory;
  for (bool const interlaced : {false, true}) {
    std::string const whole = small_file(interlaced);
    CHECK(png_problem(directory, whole).empty());
    for (std::size_t length = 0; length < whole.size(); ++length) {
      CAPTURE(length);
      CHECK(has(png_problem(directory, whole.substr(0, length)), "PNG file '" + (directory / "image.png") + "'"));
    }
  }
}

TEST_CASE("PNG: flipping any bit gives an error or an image of the claimed size") {
  TemporaryDirectory const directory;
  std::string const whole = small_file();
  int refused = 0;
  for (std::size_t bit = 0; bit < whole.size() * 8; ++bit) {
    std::string damaged = whole;
    damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ (1 << bit % 8));
    mp::Image image;
    std::string const problem = png_problem(directory, damaged, &image);
    CAPTURE(bit);
    if (problem.empty()) {
      CHECK(image.pixels.size() == 9 * 7 * 3);
    } else {
      CHECK(has(problem, "PNG file"));
      ++refused;
    }
  }
  CHECK(refused > static_cast<int>(whole.size() * 8 * 9 / 10));
}

TEST_CASE("PNG: random damage never reads or writes out of bounds") {
  TemporaryDirectory const directory;
  std::mt19937 random(424242);
  std::string const whole = small_file();
  for (int round = 0; round < 400; ++round) {
    std::string noise = whole;
    for (int change = 0; change < 3; ++change) noise[8 + random() % (noise.size() - 8)] = static_cast<char>(random());
    // Half of them with a header whose checksum is right, so that its fields are believed.
    if (round % 2 == 1) noise = claiming(noise, static_cast<std::uint32_t>(random() % 40), 1 + random() % 40u);
    png_problem(directory, noise);
    labels_problem(directory, noise);
  }
}

TEST_CASE("PNG: a header that claims more than the file holds is refused without the memory that it claims") {
  TemporaryDirectory const directory;
  CHECK(has(png_problem(directory, claiming(small_file(), 8000, 8000)), "cannot hold the 8000x8000 pixels"));
  CHECK(has(png_problem(directory, claiming(small_file(), 100000, 100000)), "the limit is 67108864"));
  CHECK(has(png_problem(directory, claiming(small_file(), 0x7fffffff, 0x7fffffff)), "PNG file"));
  CHECK(has(png_problem(directory, claiming(small_file(), 0xffffffff, 1)), "PNG file"));
  CHECK(has(png_problem(directory, claiming(small_file(), 0, 7)), "PNG file"));
}

TEST_CASE("PNG: files of another kind are named for what they are") {
  TemporaryDirectory const directory;
  CHECK(has(png_problem(directory, ""), "is truncated: it holds 0 bytes"));
  CHECK(has(png_problem(directory, encode_jpeg(8, 8, random_values(192, 256), {})), "is a JPEG file"));
  CHECK(has(png_problem(directory, "P6 8 8 255 and pixels"), "is no PNG file"));
  CHECK(has(message_of<mp::Error>([&] { mp::read_png(directory / "absent.png"); }), "cannot be opened"));
  CHECK(has(message_of<mp::Error>([&] { mp::read_png(directory / "."); }), "is not a regular file"));
  auto const write = [&](mp::Image const& image) {
    return message_of<mp::Error>([&] { mp::write_png(directory / "out.png", image); });
  };
  CHECK(has(write({2, 2, 3, std::vector<std::uint8_t>(11)}), "11 bytes are no 2x2 image of 3 channels"));
  CHECK(has(write({2, 2, 2, std::vector<std::uint8_t>(8)}), "of 2 channels"));
  CHECK(has(write({0, 2, 1, {}}), "0x2"));
}
