// SPDX-License-Identifier: Apache-2.0
// A loader reads its data set until its end, so it cannot be made from a temporary one.
// expect-error: deleted
// expect-error: Loader
#include <utility>

#include <mixprec/data/loader.hpp>

using namespace mixprec;

void read(ImageDataset& data) {
#ifdef MIXPREC_CONTROL
  Loader loader(data, {.batch_size = 8});
#else
  Loader loader(std::move(data), {.batch_size = 8});
#endif
}
