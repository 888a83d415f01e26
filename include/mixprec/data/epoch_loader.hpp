// SPDX-License-Identifier: Apache-2.0
// What all loaders share: the order of an epoch, batches prepared ahead of the consumer, and buffers that are used
// again.
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
#include <mixprec/data/prefetcher.hpp>
#include <mixprec/error.hpp>

namespace mixprec::inline MIXPREC_ABI {

/// One batch in host memory.
struct HostBatch {
  std::vector<float> images;         ///< (count, height, width, channels), dense: N,C,H,W in logical order
  std::vector<std::int32_t> labels;  ///< (count), or (count, height, width) where every pixel has one
  std::int64_t count = 0;
  int height = 0, width = 0;  ///< of this batch's images
};

/// How an epoch goes through a data set.
struct EpochOptions {
  int batch_size = 1;
  bool shuffle = true;
  bool drop_last = false;
  std::uint64_t seed = 0;
  int prefetch = 3;
};

/// Hands out a data set in batches, epoch by epoch: `for (HostBatch const& batch : loader.epoch(e))`.
/// A batch is valid until the loop asks for the next one; its buffers are used again. The loader must outlive its
/// epochs. `Fill` knows the data: its `size()` is the number of images, and its call operator, which is const, (batch,
/// image indices, epoch) makes a batch of them on the epoch's thread.
template <class Fill>
class EpochLoader {
  // What an epoch needs to run, kept for the next epoch.
  struct Workspace {
    std::vector<HostBatch> slots;
    std::vector<std::uint32_t> order;
  };

  // Holds a workspace, ready for one epoch, and gives it back.
  class Lease {
   public:
    Lease(EpochLoader& loader, std::int64_t epoch) : loader_(loader), workspace_(loader.take_workspace()) {
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
    EpochLoader& loader_;
    std::unique_ptr<Workspace> workspace_;
  };

  struct FillBatch {
    EpochLoader const* loader;
    std::span<std::uint32_t const> order;
    std::int64_t epoch, first;
    void operator()(HostBatch& batch, std::int64_t index) const {
      auto const batch_size = static_cast<std::size_t>(loader->epoch_options_.batch_size);
      auto const mine = order.subspan(static_cast<std::size_t>(first + index) * batch_size);
      loader->fill_(batch, mine.first(std::min(batch_size, mine.size())), epoch);
    }
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
    friend EpochLoader;
    Epoch(EpochLoader& loader, std::int64_t number, std::int64_t first)
        : lease_(loader, number),
          prefetcher_(lease_->slots, loader.batches_per_epoch() - first, {&loader, lease_->order, number, first}) {}

    Lease lease_;
    Prefetcher<HostBatch, FillBatch> prefetcher_;  // last: its thread ends before the workspace goes back
  };

  EpochLoader(EpochLoader const&) = delete;
  EpochLoader& operator=(EpochLoader const&) = delete;

  std::int64_t batches_per_epoch() const {
    std::int64_t const extra = epoch_options_.drop_last ? 0 : epoch_options_.batch_size - 1;
    return (fill_.size() + extra) / epoch_options_.batch_size;
  }

  /// Starts preparing epoch `number`, from batch `first_batch` on: the batches before it are not made, and those behind
  /// it are the same as in the whole epoch. batches_per_epoch() as the first one gives an epoch without batches.
  /// Several epochs may be under way at once, each with its own thread. Errors: Error for a first batch out of range.
  Epoch epoch(std::int64_t number, std::int64_t first_batch = 0) {
    if (first_batch < 0 || first_batch > batches_per_epoch()) {
      throw Error("loader: first_batch is " + std::to_string(first_batch) + ", and an epoch has " +
                  std::to_string(batches_per_epoch()) +
                  " batches. Give 0 to that number; a checkpoint's position counts batches of the same batch_size.");
    }
    return Epoch(*this, number, first_batch);
  }

 protected:
  /// Errors: an empty data set, or one too large; options out of range, with their values.
  EpochLoader(EpochOptions const& options, Fill fill) : fill_(std::move(fill)), epoch_options_(options) {
    auto const refuse = [](std::string const& what, auto value, char const* remedy) {
      throw Error("loader: " + what + " is " + std::to_string(value) + ". " + remedy + ".");
    };
    if (fill_.size() == 0) throw Error("loader: the data set is empty. Read the data first.");
    if (fill_.size() > 0xffffffff) refuse("the number of images", fill_.size(), "At most 4294967295 fit");
    if (options.batch_size < 1) refuse("batch_size", options.batch_size, "Give 1 or more");
    if (options.prefetch < 1) refuse("prefetch", options.prefetch, "Give 1 or more; 2 to 4 are usual");
    if (options.drop_last && fill_.size() < options.batch_size) {
      throw Error("loader: drop_last with " + std::to_string(fill_.size()) + " images and batch_size " +
                  std::to_string(options.batch_size) + " leaves no batch. Give a smaller batch_size.");
    }
  }
  ~EpochLoader() = default;

  Fill const& fill() const { return fill_; }

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
    workspace.slots.resize(static_cast<std::size_t>(epoch_options_.prefetch) + 1);
    auto& order = workspace.order;
    order.resize(static_cast<std::size_t>(fill_.size()));
    std::iota(order.begin(), order.end(), std::uint32_t{0});
    if (epoch_options_.shuffle) {
      CounterRandom random(epoch_options_.seed, static_cast<std::uint64_t>(epoch), for_order);
      for (std::size_t left = order.size(); left > 1; --left) std::swap(order[left - 1], order[random.below(left)]);
    }
  }

  Fill fill_;
  EpochOptions epoch_options_;
  std::mutex mutex_;
  std::vector<std::unique_ptr<Workspace>> idle_;  // guarded by mutex_
  std::size_t workspaces_ = 0;                    // guarded by mutex_
};

}  // namespace mixprec::inline MIXPREC_ABI
