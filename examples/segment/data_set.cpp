// SPDX-License-Identifier: Apache-2.0
// Reads or draws the data set; in a file of its own so that the training code does not pay for the image libraries.
#include "data_set.hpp"

#include <algorithm>
#include <cstdint>

#include <mixprec/data/drawn_segmentation.hpp>
#include <mixprec/data/segmentation_list.hpp>

namespace segment {
namespace {

namespace mp = mixprec;

// The first images of another source.
template <mp::SegmentationSource Source>
class First {
 public:
  First(Source const& source, int limit)
      : source_(source), size_(limit > 0 ? std::min<std::int64_t>(limit, source.size()) : source.size()) {}
  std::int64_t size() const { return size_; }
  int classes() const { return source_.classes(); }
  mp::SegmentationSample load(std::int64_t i) const { return source_.load(i); }

 private:
  Source const& source_;
  std::int64_t size_;
};

mp::SegmentationMemory in_memory(mp::SegmentationSource auto const& source, DataOptions const& options) {
  return mp::SegmentationMemory(First(source, options.limit), options.workers);
}

}  // namespace

DataSet load(DataOptions const& options) {
  if (options.folder.empty()) {
    auto const& names = mp::drawn_segmentation_class_names;
    return {in_memory(mp::DrawnSegmentation(512, 1), options),
            in_memory(mp::DrawnSegmentation(96, 2), options),
            {names.begin(), names.end()},
            "drawn"};
  }
  mp::LabelFormat const format{static_cast<int>(options.class_names.size()), options.ignore};
  return {in_memory(mp::SegmentationList(options.folder + "/train.txt", format), options),
          in_memory(mp::SegmentationList(options.folder + "/val.txt", format), options), options.class_names,
          options.folder};
}

}  // namespace segment
