// SPDX-License-Identifier: Apache-2.0
// JPEG: pixels come back as closely as the format keeps them, and what the library would only warn of is an error.
#include <doctest/doctest.h>

#include <cmath>

#include <mixprec/data/image_file.hpp>

#include "../../has.hpp"
#include "../../io/temporary_directory.hpp"
#include "encode.hpp"

namespace mp = mixprec;
using mp::test::has;

namespace {

// Smooth, so that JPEG loses little.
std::vector<std::uint8_t> smooth(int height, int width, int components) {
  std::vector<std::uint8_t> pixels;
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x) {
      for (int c = 0; c < components; ++c) {
        pixels.push_back(static_cast<std::uint8_t>(128 + 90 * std::sin(0.11 * x + 0.07 * y * (c + 1) + c)));
      }
    }
  }
  return pixels;
}

std::string jpeg_problem(TemporaryDirectory const& directory, std::string const& content, mp::Image* image = nullptr) {
  std::string const path = directory.put("image.jpg", content);
  return message_of<mp::Error>([&] {
    mp::Image const read = mp::read_jpeg(path);
    if (image != nullptr) *image = read;
  });
}

}  // namespace

TEST_CASE("JPEG: grey and colour images come back, progressive and subsampled ones too") {
  TemporaryDirectory const directory;
  for (int const components : {1, 3}) {
    for (bool const progressive : {false, true}) {
      for (int const subsampling : {1, 2}) {
        auto const pixels = smooth(37, 50, components);
        mp::Image image;
        CHECK(jpeg_problem(directory, encode_jpeg(37, 50, pixels, {98, progressive, components, subsampling}), &image)
                  .empty());
        CHECK(image.extent() == mp::ImageExtent{37, 50});
        REQUIRE(image.channels == components);
        REQUIRE(image.pixels.size() == pixels.size());
        double error = 0;
        for (std::size_t i = 0; i < pixels.size(); ++i) error += std::abs(image.pixels[i] - pixels[i]);
        CHECK(error / static_cast<double>(pixels.size()) < 2);
      }
    }
  }
}

TEST_CASE("JPEG: every truncation is refused by name") {
  TemporaryDirectory const directory;
  for (bool const progressive : {false, true}) {
    std::string const whole = encode_jpeg(17, 19, smooth(17, 19, 3), {90, progressive});
    CHECK(jpeg_problem(directory, whole).empty());
    for (std::size_t length = 0; length < whole.size(); ++length) {
      CAPTURE(length);
      CHECK(has(jpeg_problem(directory, whole.substr(0, length)), "JPEG file '" + (directory / "image.jpg") + "'"));
    }
  }
}

TEST_CASE("JPEG: random damage gives an error or an image of the claimed size") {
  TemporaryDirectory const directory;
  std::mt19937 random(424242);
  int refused = 0;
  for (int round = 0; round < 600; ++round) {
    std::string noise =
        encode_jpeg(16, 24, random_values(16 * 24 * 3, 256), {90, round % 2 == 1, 3, 1 + round / 2 % 2});
    for (int change = 0; change < 1 + round % 3; ++change) {
      noise[3 + random() % (noise.size() - 3)] = static_cast<char>(random());
    }
    mp::Image image;
    std::string const problem = jpeg_problem(directory, noise, &image);
    if (problem.empty()) {
      CHECK(image.pixels.size() == image.extent().pixels() * static_cast<std::size_t>(image.channels));
    } else {
      CHECK(has(problem, "JPEG file"));
      ++refused;
    }
  }
  CHECK(refused > 0);
}

TEST_CASE("JPEG: files of another kind, of print colours or of absurd size are refused with what they are") {
  TemporaryDirectory const directory;
  CHECK(has(jpeg_problem(directory, ""), "is truncated: it holds 0 bytes"));
  CHECK(has(jpeg_problem(directory, encode_png(1, {"abc"}, {})), "is a PNG file"));
  CHECK(has(jpeg_problem(directory, "GIF89a"), "is no JPEG file"));
  CHECK(has(jpeg_problem(directory, encode_jpeg(8, 8, random_values(256, 256), {.components = 4})),
            "4 colour components"));
  std::string large = encode_jpeg(8, 8, smooth(8, 8, 3), {});
  std::size_t const frame = large.find("\xff\xc0");
  REQUIRE(frame != std::string::npos);
  large.replace(frame + 5, 4, "\xf0\x01\xf0\x01");
  CHECK(has(jpeg_problem(directory, large), "is 61441x61441 pixels; the limit is 67108864"));
  CHECK(has(message_of<mp::Error>([&] { mp::read_jpeg(directory / "absent.jpg"); }), "cannot be opened"));
}

TEST_CASE("image files: the name's ending decides, and a lie is found out") {
  TemporaryDirectory const directory;
  std::string const png = encode_png(1, {"abc"}, {}), jpeg = encode_jpeg(2, 1, smooth(2, 1, 3), {});
  CHECK(mp::read_image(directory.put("a.png", png)).extent() == mp::ImageExtent{1, 1});
  for (auto const* name : {"a.jpg", "a.jpeg", "A.JPG"}) {
    CHECK(mp::read_image(directory.put(name, jpeg)).extent() == mp::ImageExtent{2, 1});
  }
  auto const problem = [&](std::string const& name, std::string const& content) {
    return message_of<mp::Error>([&] { mp::read_image(directory.put(name, content)); });
  };
  CHECK(has(problem("b.png", jpeg), "b.png': is a JPEG file"));
  CHECK(has(problem("b.jpg", png), "b.jpg': is a PNG file"));
  CHECK(has(problem("b.bmp", png), "b.bmp': its name ends in none of .png, .jpg and .jpeg"));
}
