// SPDX-License-Identifier: Apache-2.0
// A loader reads its source until its end, so it cannot be made from a temporary one.
// expect-error: deleted
// expect-error: SegmentationLoader
#include <utility>

#include <mixprec/data/segmentation_loader.hpp>

using namespace mixprec;

void read(SegmentationMemory& source) {
#ifdef MIXPREC_CONTROL
  SegmentationLoader loader(source, {.batch_size = 8});
#else
  SegmentationLoader loader(std::move(source), {.batch_size = 8});
#endif
}
