// SPDX-License-Identifier: Apache-2.0
// Batches for training classifiers: shuffled, augmented and normalised ahead of the consumer. What a batch holds is a
// function of (seed, epoch, image index), not of timing, batch size or the number of threads.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <mixprec/data/counter_random.hpp>
#include <mixprec/data/dataset.hpp>
#include <mixprec/data/epoch_loader.hpp>
#include <mixprec/data/normalizer.hpp>

namespace mixprec::inline MIXPREC_ABI {

struct LoaderOptions {
  int batch_size = 128;
  bool shuffle = true;
  bool drop_last = false;  ///< leave out a last batch that is not full
  std::uint64_t seed = 0;
  ChannelStatistics normalization = {};  ///< pixels become (x / 255 - mean) / std; empty: the data set's own statistics
  int crop_padding = 0;                  ///< shift by up to this many pixels each way; black comes in from outside
  bool horizontal_flip = false;          ///< mirror half of the images
  int prefetch = 3;                      ///< batches prepared ahead
};

namespace detail {

/// Makes batches of an ImageDataset.
class ImageFill {
 public:
  ImageFill(ImageDataset const& data, LoaderOptions options)
      : data_(&data),
        options_(completed(data, std::move(options))),
        normalized_(options_.normalization, data.channels) {
    black_.assign(static_cast<std::size_t>(data.channels), 0);
  }

  std::int64_t size() const { return data_->size(); }
  ImageDataset const& dataset() const { return *data_; }
  LoaderOptions const& options() const { return options_; }

  void operator()(HostBatch& batch, std::span<std::uint32_t const> indices, std::int64_t epoch) const {
    batch.count = static_cast<std::int64_t>(indices.size());
    batch.height = data_->height;
    batch.width = data_->width;
    batch.images.resize(indices.size() * data_->image_bytes());
    batch.labels.resize(indices.size());
    for (std::size_t i = 0; i < indices.size(); ++i) {
      batch.labels[i] = data_->labels[indices[i]];
      copy_image(batch.images.data() + i * data_->image_bytes(), indices[i], epoch);
    }
  }

 private:
  // The options with the data set's own statistics where none are given.
  static LoaderOptions completed(ImageDataset const& data, LoaderOptions options) {
    validate(data);
    if (data.size() == 0) throw Error("loader: the data set is empty. Read the data first.");
    if (options.crop_padding < 0 || options.crop_padding >= std::min(data.height, data.width)) {
      throw Error("loader: crop_padding is " + std::to_string(options.crop_padding) +
                  ". Give 0 or more, and less than the images' height and width.");
    }
    ChannelStatistics& statistics = options.normalization;
    if (statistics.mean.empty() && statistics.std.empty()) statistics = channel_statistics(data);
    return options;
  }

  // Writes image `index`, shifted, mirrored and normalised.
  void copy_image(float* out, std::uint32_t index, std::int64_t epoch) const {
    int const height = data_->height, width = data_->width, channels = data_->channels, padding = options_.crop_padding;
    CounterRandom random(options_.seed, static_cast<std::uint64_t>(epoch), index);
    int const down = padding > 0 ? random.between(-padding, padding) : 0;
    int const right = padding > 0 ? random.between(-padding, padding) : 0;
    bool const mirrored = options_.horizontal_flip && random.below(2) == 1;
    std::uint8_t const* const image = data_->images.data() + std::size_t{index} * data_->image_bytes();
    auto const write_pixel = [&](std::uint8_t const* pixel) {
      for (int c = 0; c < channels; ++c) *out++ = normalized_(pixel[c], c);
    };
    for (int row = 0; row < height; ++row) {
      int const from_row = row + down;
      bool const row_inside = from_row >= 0 && from_row < height;
      std::uint8_t const* const line = image + std::ptrdiff_t{row_inside ? from_row : 0} * width * channels;
      for (int column = 0; column < width; ++column) {
        int const from = (mirrored ? width - 1 - column : column) + right;
        bool const inside = row_inside && from >= 0 && from < width;
        write_pixel(inside ? line + std::ptrdiff_t{from} * channels : black_.data());
      }
    }
  }

  ImageDataset const* data_;
  LoaderOptions options_;
  Normalizer normalized_;
  std::vector<std::uint8_t> black_;  // one pixel
};

}  // namespace detail

/// Hands out an ImageDataset in batches, epoch by epoch: `for (HostBatch const& batch : loader.epoch(e))`.
/// A batch is valid until the loop asks for the next one. Nothing is allocated per batch after the first epoch's first
/// few. The data set must outlive the loader, unchanged; the loader must outlive its epochs.
class Loader : public EpochLoader<detail::ImageFill> {
 public:
  /// Errors: an inconsistent or empty data set; options out of range, with their values.
  Loader(ImageDataset const& data, LoaderOptions options)
      : EpochLoader<detail::ImageFill>({.batch_size = options.batch_size,
                                        .shuffle = options.shuffle,
                                        .drop_last = options.drop_last,
                                        .seed = options.seed,
                                        .prefetch = options.prefetch},
                                       detail::ImageFill(data, options)) {}
  Loader(ImageDataset&&, LoaderOptions) = delete;  // the data set would be gone before the first batch

  ImageDataset const& dataset() const { return fill().dataset(); }
  /// The options in force, with the normalization that is used.
  LoaderOptions const& options() const { return fill().options(); }
};

}  // namespace mixprec::inline MIXPREC_ABI
