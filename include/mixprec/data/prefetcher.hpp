// SPDX-License-Identifier: Apache-2.0
// Work done ahead of its consumer: one thread fills a bounded ring of slots, and the slots are used again and again.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <mutex>
#include <span>
#include <stop_token>
#include <thread>
#include <utility>

#include <mixprec/error.hpp>

namespace mixprec::inline MIXPREC_ABI {

/// Calls `fill(slot, index)` for index 0, 1, ... count - 1 on a thread of its own, at most slots.size() - 1 results
/// ahead, and hands the results out in order. An exception of `fill` reaches the consumer in its place.
/// The destructor may come at any time: it waits for the fill in progress and for no other.
/// The slots and whatever `fill` refers to must outlive the Prefetcher. One consumer thread.
template <class T, class Fill>
class Prefetcher {
 public:
  /// Errors: fewer than two slots (one is the consumer's, so that none would be left to fill).
  Prefetcher(std::span<T> slots, std::int64_t count, Fill fill) : slots_(slots), count_(count), fill_(std::move(fill)) {
    if (slots.size() < 2) {
      throw Error("prefetcher: " + std::to_string(slots.size()) + " slots. Give it at least 2.");
    }
    thread_ = std::jthread([this](std::stop_token stop) { produce(stop); });
  }
  Prefetcher(Prefetcher const&) = delete;
  Prefetcher& operator=(Prefetcher const&) = delete;

  /// The next result, or null behind the last. It is valid until the next call. Sync: waits for the result.
  /// Errors: what `fill` threw for this index, on this and every later call.
  T* next() {
    std::unique_lock lock(mutex_);
    if (taken_ == count_) return nullptr;
    // Asking for the next result gives the previous one's slot back.
    released_ = taken_;
    space_.notify_one();
    ready_.wait(lock, [&] { return produced_ > taken_ || failure_ != nullptr; });
    if (produced_ == taken_) std::rethrow_exception(failure_);
    return &slot(taken_++);
  }

 private:
  T& slot(std::int64_t index) { return slots_[static_cast<std::size_t>(index) % slots_.size()]; }

  void produce(std::stop_token const& stop) {
    auto const capacity = static_cast<std::int64_t>(slots_.size());
    for (std::int64_t index = 0; index < count_; ++index) {
      {
        std::unique_lock lock(mutex_);
        if (!space_.wait(lock, stop, [&] { return index - released_ < capacity; })) return;
      }
      if (stop.stop_requested()) return;
      std::exception_ptr failure;
      try {
        fill_(slot(index), index);
      } catch (...) {
        failure = std::current_exception();
      }
      std::lock_guard const lock(mutex_);
      if (failure != nullptr) {
        failure_ = failure;
      } else {
        ++produced_;
      }
      ready_.notify_one();
      if (failure_ != nullptr) return;
    }
  }

  std::span<T> slots_;
  std::int64_t count_;
  Fill fill_;
  std::mutex mutex_;
  std::condition_variable_any space_;
  std::condition_variable ready_;
  std::int64_t produced_ = 0, taken_ = 0, released_ = 0;  // results so far; guarded by mutex_
  std::exception_ptr failure_;                            // guarded by mutex_
  std::jthread thread_;                                   // last, so that it ends before what it uses
};

}  // namespace mixprec::inline MIXPREC_ABI
