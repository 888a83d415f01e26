// SPDX-License-Identifier: Apache-2.0
// IDX, the format of MNIST and Fashion-MNIST: big-endian u32 magic and extents, then bytes; usually gzip.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <mixprec/data/byte_source.hpp>
#include <mixprec/data/dataset.hpp>

namespace mixprec::inline MIXPREC_ABI {

/// Content of an IDX file of rank 3: `pixels` is (count, rows, columns).
struct IdxImages {
  std::vector<std::uint8_t> pixels;
  int count = 0, rows = 0, columns = 0;
};

/// Content of an IDX file of rank 1.
struct IdxLabels {
  std::vector<std::uint8_t> labels;
};

/// A header that claims more bytes than this is refused: no IDX data set is near it.
inline constexpr std::uint64_t idx_byte_limit = std::uint64_t{1} << 32;

namespace detail {

struct IdxContent {
  std::array<int, 3> extents{1, 1, 1};
  std::vector<std::uint8_t> bytes;
};

inline std::string idx_magic_text(std::uint32_t magic) {
  std::string text = "0x";
  for (int shift = 28; shift >= 0; shift -= 4) text += "0123456789abcdef"[(magic >> shift) & 15];
  if (magic == 0x801) text += ", labels";
  if (magic == 0x803) text += ", images";
  return text;
}

inline std::uint32_t read_idx_word(ByteSource& source, char const* what) {
  std::array<std::uint8_t, 4> bytes{};
  std::size_t const got = source.read(bytes);
  if (got < 4) {
    source.fail("is truncated: the header ends after " + std::to_string(got) + " of 4 bytes of its " + what,
                "Fetch it again");
  }
  return std::uint32_t{bytes[0]} << 24 | std::uint32_t{bytes[1]} << 16 | std::uint32_t{bytes[2]} << 8 | bytes[3];
}

inline IdxContent read_idx(std::string const& path, std::uint32_t rank) {
  ByteSource source(path, "IDX");
  std::uint32_t const expected_magic = 0x800 + rank;
  if (std::uint32_t const magic = read_idx_word(source, "magic number"); magic != expected_magic) {
    source.fail("has magic number " + idx_magic_text(magic) + ", not " + idx_magic_text(expected_magic),
                "Give the file of the right kind");
  }
  constexpr std::array<char const*, 3> names{"count", "rows", "columns"};
  IdxContent content;
  std::uint64_t total = 1;
  for (std::size_t i = 0; i < rank; ++i) {
    std::uint32_t const extent = read_idx_word(source, names[i]);
    // The limit keeps every product below 2^64, and every extent is refused that an int cannot hold.
    total *= extent;
    if (extent == 0 || extent > 0x7fffffff || total > idx_byte_limit) {
      source.fail("has a header with " + std::string(names[i]) + " = " + std::to_string(extent) + ", " +
                      std::to_string(total) + " bytes so far (allowed: 1 to " + std::to_string(idx_byte_limit) + ")",
                  "Fetch it again");
    }
    content.extents[i] = static_cast<int>(extent);
  }
  // Memory grows with the bytes that really arrive, never with what the header claims.
  std::vector<std::uint8_t>& bytes = content.bytes;
  while (bytes.size() < total) {
    std::size_t const before = bytes.size();
    std::size_t const step = std::min<std::size_t>(total - before, std::max<std::size_t>(before, 1 << 20));
    bytes.resize(before + step);
    std::size_t const got = source.read(std::span(bytes).subspan(before));
    if (got < step) {
      source.fail("is truncated: the header promises " + std::to_string(total) + " bytes, but " +
                      std::to_string(before + got) + " follow it",
                  "Fetch it again");
    }
  }
  if (std::array<std::uint8_t, 1> beyond{}; source.read(beyond) != 0) {
    source.fail("is oversized: bytes follow the " + std::to_string(total) + " that the header promises",
                "Fetch it again");
  }
  return content;
}

}  // namespace detail

/// Reads images (magic 0x803), plain or gzip. Errors: truncated, oversized or mislabelled files, damaged gzip.
inline IdxImages read_idx_images(std::string const& path) {
  detail::IdxContent content = detail::read_idx(path, 3);
  return {std::move(content.bytes), content.extents[0], content.extents[1], content.extents[2]};
}

/// Reads labels (magic 0x801), plain or gzip. Errors: as for images, and a label that is not below `classes`.
inline IdxLabels read_idx_labels(std::string const& path, int classes) {
  detail::IdxContent content = detail::read_idx(path, 1);
  for (std::size_t i = 0; i < content.bytes.size(); ++i) {
    if (int{content.bytes[i]} < classes) continue;
    detail::fail_file("IDX", path,
                      "has label " + std::to_string(int{content.bytes[i]}) + " at index " + std::to_string(i) +
                          ", but there are " + std::to_string(classes) + " classes",
                      "Give the labels of this data set");
  }
  return {std::move(content.bytes)};
}

/// Reads an image file and its label file as one data set of one channel.
/// Errors: those of both readers; different counts of images and labels.
inline ImageDataset read_idx_dataset(std::string const& images_path, std::string const& labels_path,
                                     std::vector<std::string> class_names) {
  int const classes = static_cast<int>(class_names.size());
  IdxLabels labels = read_idx_labels(labels_path, classes);
  IdxImages images = read_idx_images(images_path);
  if (static_cast<std::size_t>(images.count) != labels.labels.size()) {
    detail::fail_file("IDX", images_path,
                      "holds " + std::to_string(images.count) + " images, but '" + labels_path + "' holds " +
                          std::to_string(labels.labels.size()) + " labels",
                      "Give two files of the same data set");
  }
  return {classes,
          1,
          images.rows,
          images.columns,
          std::move(images.pixels),
          std::move(labels.labels),
          std::move(class_names)};
}

/// The two halves of a data set.
struct TrainTest {
  ImageDataset train, test;
};

/// Reads Fashion-MNIST from its four original files {train,t10k}-{images-idx3,labels-idx1}-ubyte.gz in `directory`.
/// Errors: those of the readers; train and test images of different sizes.
inline TrainTest load_fashion_mnist(std::string const& directory) {
  auto const half = [&](std::string const& name) {
    std::string const start = directory + "/" + name;
    return read_idx_dataset(
        start + "-images-idx3-ubyte.gz", start + "-labels-idx1-ubyte.gz",
        {"T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"});
  };
  TrainTest result{half("train"), half("t10k")};
  ImageDataset const &train = result.train, &test = result.test;
  if (train.height != test.height || train.width != test.width) {
    throw Error("IDX files in '" + directory + "': train images are " + std::to_string(train.height) + "x" +
                std::to_string(train.width) + ", test images " + std::to_string(test.height) + "x" +
                std::to_string(test.width) + ". Give the four files of one data set.");
  }
  return result;
}

}  // namespace mixprec::inline MIXPREC_ABI
