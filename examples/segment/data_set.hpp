// SPDX-License-Identifier: Apache-2.0
// The images that `segment` trains on and evaluates with, decoded once and kept in memory.
#pragma once

#include <string>
#include <vector>

#include <mixprec/data/segmentation.hpp>

namespace segment {

struct DataSet {
  mixprec::SegmentationMemory train, val;
  std::vector<std::string> class_names;
  std::string source;  // "drawn", or the folder's name
};

/// Where images come from.
struct DataOptions {
  std::string folder;                    // with train.txt and val.txt; empty: the drawn set
  std::vector<std::string> class_names;  // of the folder's set
  int ignore = mixprec::ignored_label;   // the folder's label that does not count
  int limit = 0;                         // the first so many images of each list; 0: all
  int workers = 1;                       // threads that decode
};

/// Errors: those of the lists, images and label maps, with the file and the value that is wrong.
DataSet load(DataOptions const& options);

}  // namespace segment
