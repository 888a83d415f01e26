// SPDX-License-Identifier: Apache-2.0
// A segmentation data set on disk: a text file that names an image and a label map on every line.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include <mixprec/data/image_file.hpp>
#include <mixprec/data/segmentation.hpp>
#include <mixprec/io/file.hpp>

namespace mixprec::inline MIXPREC_ABI {

/// What the numbers in a set's label maps mean: 0 to classes - 1 are classes, `ignore` marks pixels that do not count
/// (255 is usual, CamVid has 11), and every other number is an error.
struct LabelFormat {
  int classes = 0;  ///< 1 to 255
  int ignore = ignored_label;
};

namespace detail {

/// Replaces `ignore` by `ignored_label`. Errors: any other number from `classes` on, with its place.
inline void translate_labels(LabelMap& labels, LabelFormat format, std::string const& path) {
  std::array<int, 256> translated;
  translated.fill(-1);
  for (int label = 0; label < format.classes; ++label) translated[static_cast<std::size_t>(label)] = label;
  if (format.ignore >= 0 && format.ignore < 256) translated[static_cast<std::size_t>(format.ignore)] = ignored_label;
  for (std::size_t i = 0; i < labels.values.size(); ++i) {
    int const label = translated[labels.values[i]];
    if (label < 0) {
      auto const width = static_cast<std::size_t>(labels.width);
      fail_file("label map", path,
                "row " + std::to_string(i / width) + ", column " + std::to_string(i % width) + " has label " +
                    std::to_string(int{labels.values[i]}) + " of " + std::to_string(format.classes) +
                    " classes, and the ignored label is " + std::to_string(format.ignore),
                "Labels count from 0; correct the map, or the number of classes");
    }
    labels.values[i] = static_cast<std::uint8_t>(label);
  }
}

}  // namespace detail

/// A list file and the format of its labels. Each line holds the paths of an image (PNG or JPEG) and of its label map
/// (PNG, grey or palette), separated by blanks, relative to the list's folder or absolute; empty lines are passed over.
/// Files are read when they are asked for. Errors name the list and the line, or the image or label map.
class SegmentationList {
 public:
  struct Pair {
    std::string image, labels;
  };

  SegmentationList(std::string const& path, LabelFormat format) : format_(format) {
    if (format.classes < 1 || format.classes > 255) {
      detail::fail_file("list", path, "has " + std::to_string(format.classes) + " classes", "Give 1 to 255");
    }
    std::vector<std::byte> const bytes = read_whole_file(path, "list", std::uint64_t{1} << 28);
    std::istringstream text(std::string(reinterpret_cast<char const*>(bytes.data()), bytes.size()));
    std::size_t const slash = path.rfind('/');
    std::string const folder = slash == std::string::npos ? "" : path.substr(0, slash + 1);
    auto const located = [&](std::string const& name) { return name.starts_with('/') ? name : folder + name; };
    std::string line;
    for (int number = 1; std::getline(text, line); ++number) {
      std::istringstream words(line);
      std::string image, labels, more;
      if (!(words >> image)) continue;
      if (!(words >> labels) || words >> more) {
        detail::fail_file("list", path,
                          "line " + std::to_string(number) + " is not an image and a label map: " + line.substr(0, 200),
                          "Write two paths without blanks in them");
      }
      pairs_.push_back({located(image), located(labels)});
    }
    if (pairs_.empty()) detail::fail_file("list", path, "names no images", "Check that it is the right file");
  }

  std::int64_t size() const { return static_cast<std::int64_t>(pairs_.size()); }
  int classes() const { return format_.classes; }
  std::vector<Pair> const& pairs() const { return pairs_; }

  /// Reads pair `i`. Errors: those of the readers; extents that differ; a label outside the format, with its place.
  SegmentationSample load(std::int64_t i) const {
    Pair const& pair = pairs_.at(static_cast<std::size_t>(i));
    SegmentationSample sample{to_rgb(read_image(pair.image)), read_png_labels(pair.labels)};
    if (sample.image.extent() != sample.labels.extent()) {
      detail::fail_file(
          "label map", pair.labels,
          "is " + to_text(sample.labels.extent()) + ", but '" + pair.image + "' is " + to_text(sample.image.extent()),
          "Give an image and its own label map");
    }
    detail::translate_labels(sample.labels, format_, pair.labels);
    return sample;
  }

 private:
  LabelFormat format_;
  std::vector<Pair> pairs_;
};

}  // namespace mixprec::inline MIXPREC_ABI
