// SPDX-License-Identifier: Apache-2.0
// Independent pieces of work on a few threads.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

#include <mixprec/config.hpp>

namespace mixprec::inline MIXPREC_ABI::detail {

/// Calls `work(i)` for every i below `count`, on `workers` threads of which the caller's is one. Where calls throw, the
/// exception of the lowest i is thrown once all are done: which one does not depend on timing.
template <class Work>
void for_each_index(std::size_t count, int workers, Work const& work) {
  std::atomic<std::size_t> next{0};
  std::mutex mutex;
  std::size_t failed = count;  // guarded by mutex
  std::exception_ptr failure;  // guarded by mutex
  auto const run = [&] {
    for (std::size_t i; (i = next++) < count;) {
      try {
        work(i);
      } catch (...) {
        std::lock_guard const lock(mutex);
        if (i < failed) failed = i, failure = std::current_exception();
      }
    }
  };
  {
    std::vector<std::jthread> helpers;
    for (std::size_t h = 1; h < std::min(count, static_cast<std::size_t>(workers)); ++h) helpers.emplace_back(run);
    run();
  }
  if (failure != nullptr) std::rethrow_exception(failure);
}

}  // namespace mixprec::inline MIXPREC_ABI::detail
