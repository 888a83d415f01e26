// SPDX-License-Identifier: Apache-2.0
// The CPU's execution context: threads and scratch memory. Kernels take it first, which is how lookup finds them.
#pragma once

#include <algorithm>  // std::min
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>

#include <mixprec/config.hpp>
#if MIXPREC_HAS_OPENMP()
#include <omp.h>
#endif

namespace mixprec::inline MIXPREC_ABI::cpu {

/// Work on a Stream runs on the calling thread and its OpenMP team; a kernel has finished when it returns.
class Stream {
 public:
  /// Scratch memory of at least `bytes`, 64-byte aligned, valid until the next call.
  void* scratch(std::size_t bytes) {
    if (bytes > capacity_) {
      memory_.reset(::operator new (bytes, std::align_val_t{64}));
      capacity_ = bytes;
    }
    return memory_.get();
  }

  /// Threads that a kernel may use.
  int threads() const {
#if MIXPREC_HAS_OPENMP()
    return omp_get_max_threads();
#else
    return 1;
#endif
  }

  /// What a vendor library keeps between calls (onednn.hpp: engine and primitives); empty without one.
  std::shared_ptr<void> vendor_cache;

 private:
  struct Free {
    void operator()(void* memory) const { ::operator delete (memory, std::align_val_t{64}); }
  };
  std::unique_ptr<void, Free> memory_;
  std::size_t capacity_ = 0;
};

/// Calls body(begin, end) on a fixed partition of [0, n) into at most stream.threads() ranges, each a multiple of
/// `grain` but the last; below two grains it stays on the calling thread. The same n, grain and thread count give the
/// same ranges, so sums in fixed order repeat bit for bit.
template <class Body>
void parallel_for(Stream& stream, std::int64_t n, std::int64_t grain, Body&& body) {
  std::int64_t const pieces = (n + grain - 1) / grain;
  int const threads = static_cast<int>(std::min<std::int64_t>(stream.threads(), pieces));
  if (threads <= 1) {
    if (n > 0) body(std::int64_t{0}, n);
    return;
  }
#if MIXPREC_HAS_OPENMP()
#pragma omp parallel for num_threads(threads) schedule(static, 1)
#endif
  for (int thread = 0; thread < threads; ++thread) {
    std::int64_t const begin = pieces * thread / threads * grain;
    std::int64_t const end = std::min(n, pieces * (thread + 1) / threads * grain);
    if (begin < end) body(begin, end);
  }
}

}  // namespace mixprec::inline MIXPREC_ABI::cpu
