// SPDX-License-Identifier: Apache-2.0
// A caching allocator over a backend's memory: best fit with splitting, nothing returned before the end.
#pragma once

#include <algorithm>  // std::max
#include <cstddef>
#include <iterator>  // std::prev, std::next
#include <map>

#include <mixprec/error.hpp>

namespace mixprec::inline MIXPREC_ABI {

/// Every allocation is rounded up to this many bytes; the plan counts with the same rounding.
inline constexpr std::size_t arena_granularity = 512;

constexpr std::size_t arena_rounded(std::size_t bytes) {
  return bytes == 0 ? arena_granularity : (bytes + arena_granularity - 1) / arena_granularity * arena_granularity;
}

/// Memory of one stream. A block that is released is reused by later work on the same stream without waiting.
/// `B` models: compute_backend. Not thread-safe. Sync: `allocate` may wait where it has to ask the system for more.
template <class B>
class Arena {
 public:
  explicit Arena(typename B::Stream& stream) : stream_(stream) {}
  Arena(Arena const&) = delete;
  Arena& operator=(Arena const&) = delete;
  ~Arena() {
    for (auto const& [address, bytes] : segments_) B::release(stream_, address);
  }

  /// At least `bytes` (rounded to arena_granularity), aligned to it. Errors: the backend's out-of-memory Error; the
  /// arena stays usable.
  void* allocate(std::size_t bytes) {
    bytes = arena_rounded(bytes);
    auto best = free_by_size_.lower_bound(bytes);
    if (best == free_by_size_.end()) best = grow(bytes);
    char* const address = best->second;
    std::size_t const available = best->first;
    free_by_size_.erase(best);
    Block& block = blocks_.at(address);
    block.free = false;
    if (available > bytes) {
      block.bytes = bytes;
      insert_free(address + bytes, {available - bytes, block.segment, true});
    }
    live_ += bytes;
    high_water_ = std::max(high_water_, live_);
    return address;
  }

  /// Gives a block back; neighbours of the same segment join.
  void release(void* memory) {
    auto at = blocks_.find(static_cast<char*>(memory));
    if (at == blocks_.end() || at->second.free) throw Error("arena: release of memory that is not allocated here.");
    live_ -= at->second.bytes;
    auto const next = std::next(at);
    if (next != blocks_.end() && next->second.free && next->second.segment == at->second.segment) {
      erase_free(next->first, next->second.bytes);
      at->second.bytes += next->second.bytes;
      blocks_.erase(next);
    }
    if (at != blocks_.begin()) {
      auto const previous = std::prev(at);
      if (previous->second.free && previous->second.segment == at->second.segment) {
        erase_free(previous->first, previous->second.bytes);
        previous->second.bytes += at->second.bytes;
        blocks_.erase(at);
        at = previous;
      }
    }
    at->second.free = true;
    free_by_size_.emplace(at->second.bytes, at->first);
  }

  std::size_t live() const { return live_; }              // bytes allocated now
  std::size_t high_water() const { return high_water_; }  // most bytes ever live since the last reset
  std::size_t reserved() const { return reserved_; }      // bytes taken from the system
  std::size_t system_allocations() const { return segments_.size(); }
  void reset_high_water() { high_water_ = live_; }

 private:
  struct Block {
    std::size_t bytes;
    void* segment;
    bool free;
  };
  // Small requests share segments of 2 MiB; larger ones are rounded to 2 MiB, so that similar sizes can be reused.
  static constexpr std::size_t segment_granularity = std::size_t{2} << 20;

  void insert_free(char* address, Block block) {
    blocks_.emplace(address, block);
    free_by_size_.emplace(block.bytes, address);
  }
  void erase_free(char* address, std::size_t bytes) {
    auto [first, last] = free_by_size_.equal_range(bytes);
    while (first != last && first->second != address) ++first;
    free_by_size_.erase(first);
  }
  std::multimap<std::size_t, char*>::iterator grow(std::size_t bytes) {
    std::size_t const segment = (bytes + segment_granularity - 1) / segment_granularity * segment_granularity;
    auto* const address = static_cast<char*>(B::allocate(stream_, segment));
    segments_.emplace(address, segment);
    reserved_ += segment;
    blocks_.emplace(address, Block{segment, address, true});
    return free_by_size_.emplace(segment, address);
  }

  typename B::Stream& stream_;
  std::map<char*, Block> blocks_;
  std::multimap<std::size_t, char*> free_by_size_;
  std::map<void*, std::size_t> segments_;
  std::size_t live_ = 0, high_water_ = 0, reserved_ = 0;
};

}  // namespace mixprec::inline MIXPREC_ABI
