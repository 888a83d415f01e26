// SPDX-License-Identifier: Apache-2.0
// Batches for training and evaluating segmentation: read, augmented, normalised and padded ahead of the consumer, on
// several threads. What a batch holds is a function of (seed, epoch, image index), not of timing or threads.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <type_traits>
#include <utility>

#include <mixprec/data/augment.hpp>
#include <mixprec/data/counter_random.hpp>
#include <mixprec/data/epoch_loader.hpp>
#include <mixprec/data/normalizer.hpp>
#include <mixprec/data/parallel.hpp>
#include <mixprec/data/segmentation.hpp>

namespace mixprec::inline MIXPREC_ABI {

struct SegmentationLoaderOptions {
  int batch_size = 8;
  bool shuffle = true;
  bool drop_last = false;  ///< leave out a last batch that is not full
  std::uint64_t seed = 0;
  /// Pixels become (x / 255 - mean) / std; empty: the data set's own statistics, for which it is read once.
  ChannelStatistics normalization = {};
  /// Empty: whole images as they are, for evaluation; the images of a batch must then be of one extent.
  std::optional<Augmentation> augmentation = {};
  int workers = 2;   ///< threads that read and augment
  int prefetch = 2;  ///< batches prepared ahead
};

namespace detail {

/// Writes a sample, normalised, into the top left of an `extent` large image and label map; the rest becomes 0 and
/// `ignored_label`.
inline void write_padded(SegmentationSample const& sample, Normalizer const& normalized, ImageExtent extent,
                         float* image, std::int32_t* labels) {
  auto const width = static_cast<std::size_t>(sample.image.width), full = static_cast<std::size_t>(extent.width);
  for (int row = 0; row < extent.height; ++row, image += 3 * full, labels += full) {
    std::size_t const used = row < sample.image.height ? width : 0;
    std::size_t const from = static_cast<std::size_t>(row) * width;
    for (std::size_t k = 0; k < 3 * used; ++k) {
      image[k] = normalized(sample.image.pixels[3 * from + k], static_cast<int>(k % 3));
    }
    for (std::size_t x = 0; x < used; ++x) labels[x] = sample.labels.values[from + x];
    std::fill(image + 3 * used, image + 3 * full, 0.0f);
    std::fill(labels + used, labels + full, std::int32_t{ignored_label});
  }
}

/// Makes batches of a segmentation data set.
template <SegmentationSource Source>
class SegmentationFill {
 public:
  SegmentationFill(Source const& source, SegmentationLoaderOptions options)
      : source_(&source), options_(completed(source, std::move(options))), normalized_(options_.normalization, 3) {}

  std::int64_t size() const { return source_->size(); }
  Source const& source() const { return *source_; }
  SegmentationLoaderOptions const& options() const { return options_; }

  void operator()(HostBatch& batch, std::span<std::uint32_t const> indices, std::int64_t epoch) const {
    auto const write = [&](SegmentationSample const& sample, std::size_t i) {
      ImageExtent const extent{batch.height, batch.width};
      write_padded(sample, normalized_, extent, batch.images.data() + 3 * i * extent.pixels(),
                   batch.labels.data() + i * extent.pixels());
    };
    if (options_.augmentation) {
      resize(batch, indices.size(), options_.augmentation->crop);
      for_each_index(indices.size(), options_.workers, [&](std::size_t i) {
        CounterRandom const random(options_.seed, static_cast<std::uint64_t>(epoch), indices[i]);
        write(augmented(source_->load(indices[i]), *options_.augmentation, random), i);
      });
      return;
    }
    SegmentationSample const first = source_->load(indices[0]);
    ImageExtent const extent = first.image.extent();
    resize(batch, indices.size(), extent);
    for_each_index(indices.size(), options_.workers, [&](std::size_t i) {
      if (i == 0) return write(first, 0);
      SegmentationSample const& sample = source_->load(indices[i]);
      if (sample.image.extent() != extent) {
        throw Error("loader: image " + std::to_string(indices[i]) + " is " + to_text(sample.image.extent()) +
                    ", and image " + std::to_string(indices[0]) + " of its batch " + to_text(extent) +
                    ". Give batch_size 1, or an augmentation, which crops.");
      }
      write(sample, i);
    });
  }

 private:
  static void resize(HostBatch& batch, std::size_t count, ImageExtent extent) {
    batch.count = static_cast<std::int64_t>(count);
    batch.height = extent.height;
    batch.width = extent.width;
    batch.images.resize(3 * count * extent.pixels());
    batch.labels.resize(count * extent.pixels());
  }

  // The options with the data set's own statistics where none are given.
  static SegmentationLoaderOptions completed(Source const& source, SegmentationLoaderOptions options) {
    if (source.size() == 0) throw Error("loader: the data set is empty. Read the data first.");
    if (options.workers < 1) {
      throw Error("loader: workers is " + std::to_string(options.workers) + ". Give 1 or more.");
    }
    if (options.augmentation) validate(*options.augmentation);
    ChannelStatistics& statistics = options.normalization;
    if (statistics.mean.empty() && statistics.std.empty()) statistics = channel_statistics(source);
    return options;
  }

  Source const* source_;
  SegmentationLoaderOptions options_;
  Normalizer normalized_;
};

}  // namespace detail

/// Hands out a segmentation data set in batches, epoch by epoch, as `Loader` does: images (count, height, width, 3),
/// labels (count, height, width). The source must outlive the loader, unchanged; the loader must outlive its epochs.
template <SegmentationSource Source>
class SegmentationLoader : public EpochLoader<detail::SegmentationFill<Source>> {
  using Fill = detail::SegmentationFill<Source>;

 public:
  /// Errors: an empty data set; options out of range, with their values; those of reading, where it is read here.
  SegmentationLoader(Source const& source, SegmentationLoaderOptions options)
      : EpochLoader<Fill>({.batch_size = options.batch_size,
                           .shuffle = options.shuffle,
                           .drop_last = options.drop_last,
                           .seed = options.seed,
                           .prefetch = options.prefetch},
                          Fill(source, options)) {}
  SegmentationLoader(Source const&&, SegmentationLoaderOptions) = delete;  // it would be gone before the first batch

  Source const& source() const { return this->fill().source(); }
  /// The options in force, with the normalization that is used.
  SegmentationLoaderOptions const& options() const { return this->fill().options(); }
};

}  // namespace mixprec::inline MIXPREC_ABI
