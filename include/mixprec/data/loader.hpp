// SPDX-License-Identifier: Apache-2.0
// Batches for training: shuffled, augmented and normalised ahead of the consumer. What a batch holds is a function of
// (seed, epoch, image index), not of timing, batch size or the number of threads.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <memory>
#include <mutex>
#include <numeric>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <mixprec/data/counter_random.hpp>
#include <mixprec/data/dataset.hpp>
#include <mixprec/data/prefetcher.hpp>

namespace mixprec::inline MIXPREC_ABI {

/// One batch in host memory.
struct HostBatch {
  std::vector<float> images;         ///< (count, height, width, channels), dense: N,C,H,W in logical order
  std::vector<std::int32_t> labels;  ///< (count)
  std::int64_t count = 0;
};

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

/// Hands out a data set in batches, epoch by epoch: `for (HostBatch const& batch : loader.epoch(e))`.
/// A batch is valid until the loop asks for the next one. Nothing is allocated per batch after the first epoch's first
/// few. The data set must outlive the loader, unchanged; the loader must outlive its epochs.
class Loader {
  // What an epoch needs to run, kept for the next epoch.
  struct Workspace {
    std::vector<HostBatch> slots;
    std::vector<std::uint32_t> order;
  };

  // Holds a workspace, ready for one epoch, and gives it back.
  class Lease {
   public:
    Lease(Loader& loader, std::int64_t epoch) : loader_(loader), workspace_(loader.take_workspace()) {
      loader.prepare(*workspace_, epoch);
    }
    Lease(Lease const&) = delete;
    Lease& operator=(Lease const&) = delete;
    ~Lease() {
      std::lock_guard const lock(loader_.mutex_);
      loader_.idle_.push_back(std::move(workspace_));
    }
    Workspace* operator->() { return workspace_.get(); }

   private:
    Loader& loader_;
    std::unique_ptr<Workspace> workspace_;
  };

  struct Fill {
    Loader const* loader;
    std::span<std::uint32_t const> order;
    std::int64_t epoch;
    void operator()(HostBatch& batch, std::int64_t index) const { loader->fill(batch, order, epoch, index); }
  };

 public:
  /// One pass over the data: an input range, to be walked once. Its thread starts with it and ends with it, wherever
  /// the loop was left. Errors of the thread are thrown by begin() and ++.
  class Epoch {
   public:
    class Iterator {
     public:
      using value_type = HostBatch;
      using difference_type = std::ptrdiff_t;
      using iterator_concept = std::input_iterator_tag;

      HostBatch const& operator*() const { return *batch_; }
      HostBatch const* operator->() const { return batch_; }
      Iterator& operator++() {
        batch_ = epoch_->prefetcher_.next();
        return *this;
      }
      void operator++(int) { ++*this; }
      bool operator==(std::default_sentinel_t) const { return batch_ == nullptr; }

     private:
      friend Epoch;
      explicit Iterator(Epoch* epoch) : epoch_(epoch) { ++*this; }
      Epoch* epoch_;
      HostBatch const* batch_ = nullptr;
    };

    Iterator begin() { return Iterator(this); }
    std::default_sentinel_t end() const { return {}; }

   private:
    friend Loader;
    Epoch(Loader& loader, std::int64_t number)
        : lease_(loader, number),
          prefetcher_(lease_->slots, loader.batches_per_epoch(), {&loader, lease_->order, number}) {}

    Lease lease_;
    Prefetcher<HostBatch, Fill> prefetcher_;  // last: its thread ends before the workspace goes back
  };

  /// Errors: an inconsistent or empty data set; options out of range, with their values.
  Loader(ImageDataset const& data, LoaderOptions options) : data_(data), options_(std::move(options)) {
    validate(data);
    auto const refuse = [](std::string const& what, auto value, char const* remedy) {
      throw Error("loader: " + what + " is " + std::to_string(value) + ". " + remedy + ".");
    };
    if (data.size() == 0) throw Error("loader: the data set is empty. Read the data first.");
    if (data.size() > 0xffffffff) refuse("the number of images", data.size(), "At most 4294967295 fit");
    if (options_.batch_size < 1) refuse("batch_size", options_.batch_size, "Give 1 or more");
    if (options_.crop_padding < 0 || options_.crop_padding >= std::min(data.height, data.width)) {
      refuse("crop_padding", options_.crop_padding, "Give 0 or more, and less than the images' height and width");
    }
    if (options_.prefetch < 1) refuse("prefetch", options_.prefetch, "Give 1 or more; 2 to 4 are usual");
    if (options_.drop_last && data.size() < options_.batch_size) {
      throw Error("loader: drop_last with " + std::to_string(data.size()) + " images and batch_size " +
                  std::to_string(options_.batch_size) + " leaves no batch. Give a smaller batch_size.");
    }
    ChannelStatistics& statistics = options_.normalization;
    if (statistics.mean.empty() && statistics.std.empty()) statistics = channel_statistics(data);
    auto const channels = static_cast<std::size_t>(data.channels);
    if (statistics.mean.size() != channels || statistics.std.size() != channels) {
      throw Error("loader: normalization has " + std::to_string(statistics.mean.size()) + " means and " +
                  std::to_string(statistics.std.size()) + " deviations for " + std::to_string(channels) +
                  " channels. Give one of each for every channel.");
    }
    black_.assign(channels, 0);
    for (std::size_t c = 0; c < channels; ++c) {
      if (!(statistics.std[c] > 0)) refuse("normalization.std", statistics.std[c], "It must be positive");
      for (int x = 0; x < 256; ++x) {
        normalized_.push_back(static_cast<float>((x / 255.0 - statistics.mean[c]) / statistics.std[c]));
      }
    }
  }
  Loader(ImageDataset&&, LoaderOptions) = delete;  // the data set would be gone before the first batch
  Loader(Loader const&) = delete;
  Loader& operator=(Loader const&) = delete;

  ImageDataset const& dataset() const { return data_; }
  /// The options in force, with the normalization that is used.
  LoaderOptions const& options() const { return options_; }

  std::int64_t batches_per_epoch() const {
    std::int64_t const extra = options_.drop_last ? 0 : options_.batch_size - 1;
    return (data_.size() + extra) / options_.batch_size;
  }

  /// Starts preparing epoch `number`. Several epochs may be under way at once, each with its own thread.
  Epoch epoch(std::int64_t number) { return Epoch(*this, number); }

 private:
  // What a random sequence is for, so that the order of an epoch and the crop of an image never share one.
  static constexpr std::uint64_t for_order = ~std::uint64_t{0};

  std::unique_ptr<Workspace> take_workspace() {
    std::lock_guard const lock(mutex_);
    if (idle_.empty()) {
      // A place in the list now, so that giving back cannot fail.
      idle_.reserve(++workspaces_);
      return std::make_unique<Workspace>();
    }
    std::unique_ptr<Workspace> workspace = std::move(idle_.back());
    idle_.pop_back();
    return workspace;
  }

  void prepare(Workspace& workspace, std::int64_t epoch) const {
    workspace.slots.resize(static_cast<std::size_t>(options_.prefetch) + 1);
    auto& order = workspace.order;
    order.resize(data_.labels.size());
    std::iota(order.begin(), order.end(), std::uint32_t{0});
    if (options_.shuffle) {
      CounterRandom random(options_.seed, static_cast<std::uint64_t>(epoch), for_order);
      for (std::size_t left = order.size(); left > 1; --left) std::swap(order[left - 1], order[random.below(left)]);
    }
  }

  void fill(HostBatch& batch, std::span<std::uint32_t const> order, std::int64_t epoch, std::int64_t index) const {
    auto const batch_size = static_cast<std::size_t>(options_.batch_size);
    auto const mine = order.subspan(static_cast<std::size_t>(index) * batch_size);
    std::size_t const count = std::min(batch_size, mine.size());
    batch.count = static_cast<std::int64_t>(count);
    batch.images.resize(count * data_.image_bytes());
    batch.labels.resize(count);
    for (std::size_t i = 0; i < count; ++i) {
      batch.labels[i] = data_.labels[mine[i]];
      copy_image(batch.images.data() + i * data_.image_bytes(), mine[i], epoch);
    }
  }

  // Writes image `index`, shifted, mirrored and normalised.
  void copy_image(float* out, std::uint32_t index, std::int64_t epoch) const {
    int const height = data_.height, width = data_.width, channels = data_.channels, padding = options_.crop_padding;
    CounterRandom random(options_.seed, static_cast<std::uint64_t>(epoch), index);
    int const down = padding > 0 ? random.between(-padding, padding) : 0;
    int const right = padding > 0 ? random.between(-padding, padding) : 0;
    bool const mirrored = options_.horizontal_flip && random.below(2) == 1;
    std::uint8_t const* const image = data_.images.data() + std::size_t{index} * data_.image_bytes();
    auto const write_pixel = [&](std::uint8_t const* pixel) {
      for (int c = 0; c < channels; ++c) *out++ = normalized_[static_cast<std::size_t>(256 * c + pixel[c])];
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

  ImageDataset const& data_;
  LoaderOptions options_;
  std::vector<std::uint8_t> black_;  // one pixel
  std::vector<float> normalized_;    // (channels, 256): every pixel value after normalisation
  std::mutex mutex_;
  std::vector<std::unique_ptr<Workspace>> idle_;  // guarded by mutex_
  std::size_t workspaces_ = 0;                    // guarded by mutex_
};

}  // namespace mixprec::inline MIXPREC_ABI
