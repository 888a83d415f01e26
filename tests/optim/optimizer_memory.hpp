// SPDX-License-Identifier: Apache-2.0
// Host vectors to and from a backend's memory, and segments over them, for the optimizer tests on every backend.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <random>
#include <vector>

#include <mixprec/backend/optimizer_arguments.hpp>
#include <mixprec/dtype/dtype.hpp>

namespace optimizer_tests {

using namespace mixprec;

/// An array in backend memory with guard bytes behind it.
template <class B, class T>
class Buffer {
 public:
  Buffer(typename B::Stream& stream, std::vector<T> const& values) : stream_(stream), size_(values.size()) {
    memory_ = static_cast<T*>(B::allocate(stream_, bytes() + guard));
    std::vector<unsigned char> const poison(bytes() + guard, 0xff);
    B::copy_from_host(stream_, memory_, poison.data(), poison.size());
    B::copy_from_host(stream_, memory_, values.data(), bytes());
  }
  /// Filled with NaN bytes.
  Buffer(typename B::Stream& stream, std::size_t size) : Buffer(stream, poisoned(size)) {}
  Buffer(Buffer const&) = delete;
  Buffer& operator=(Buffer const&) = delete;
  ~Buffer() {
    B::wait(stream_);
    B::release(stream_, memory_);
  }

  T* data() const { return memory_; }
  void set(std::vector<T> const& values) { B::copy_from_host(stream_, memory_, values.data(), bytes()); }
  std::vector<T> get() const {
    std::vector<T> values(size_);
    B::copy_to_host(stream_, values.data(), memory_, bytes());
    return values;
  }
  /// All bytes, the guard counted in.
  std::vector<unsigned char> raw() const {
    std::vector<unsigned char> values(bytes() + guard);
    B::copy_to_host(stream_, values.data(), memory_, values.size());
    return values;
  }
  bool guard_intact() const {
    std::vector<unsigned char> const all = raw();
    for (std::size_t i = bytes(); i < all.size(); ++i) {
      if (all[i] != 0xff) return false;
    }
    return true;
  }

 private:
  static constexpr std::size_t guard = 64;
  static std::vector<T> poisoned(std::size_t size) {
    std::vector<T> values(size);
    std::memset(static_cast<void*>(values.data()), 0xff, size * sizeof(T));
    return values;
  }
  std::size_t bytes() const { return size_ * sizeof(T); }

  typename B::Stream& stream_;
  std::size_t size_;
  T* memory_;
};

/// Values spread evenly over a range around 0 with this standard deviation, rounded to T.
template <class T>
std::vector<T> random_values(std::mt19937& generator, std::int64_t size, double deviation) {
  std::vector<T> values(static_cast<std::size_t>(size));
  double const unit = deviation * 1.7320508075688772 * 0x1p-31;
  for (T& value : values) value = convert<T>((static_cast<double>(generator()) - 0x1p31) * unit);
  return values;
}

/// Runs of random lengths that cover [0, size), some of one alignment unit only.
inline std::vector<ParameterRun> random_runs(std::mt19937& generator, std::int64_t size) {
  constexpr double lr[] = {1.0, 0.1, 2.0}, decay[] = {1.0, 0.0, 2.0};
  std::vector<ParameterRun> runs;
  for (std::int64_t begin = 0; begin < size;) {
    std::int64_t const longest = runs.size() % 3 == 0 ? 1 : size / segment_alignment / 20 + 1;
    std::int64_t const units = 1 + static_cast<std::int64_t>(generator() % static_cast<unsigned>(longest));
    std::int64_t const end = std::min(size, begin + units * segment_alignment);
    runs.push_back({begin, end, lr[generator() % 3], decay[generator() % 3]});
    begin = end;
  }
  return runs;
}

/// Everything that an update of one segment touches.
template <class B, class M, class G, class W>
struct Fixture {
  Fixture(unsigned seed, float scale, std::int64_t elements = 16 * 501) : size(elements), generator(seed) {
    ScalerState initial;
    initial.scale = scale;
    scaler.set({initial});
  }

  Segment<M, G, W> segment(int states, bool with_working, bool with_ema, bool with_runs) {
    return {.master = master.data(),
            .state1 = states > 0 ? state1.data() : nullptr,
            .state2 = states > 1 ? state2.data() : nullptr,
            .gradient = gradient.data(),
            .working = with_working ? working.data() : nullptr,
            .ema = with_ema ? ema.data() : nullptr,
            .size = size,
            .runs = with_runs ? runs.data() : nullptr,
            .run_count = with_runs ? static_cast<std::int32_t>(host_runs.size()) : 0};
  }
  bool guards_intact() const {
    return master.guard_intact() && state1.guard_intact() && state2.guard_intact() && gradient.guard_intact() &&
           working.guard_intact() && ema.guard_intact();
  }
  std::vector<unsigned char> all_bytes() const {
    std::vector<unsigned char> bytes;
    auto const append = [&](std::vector<unsigned char> const& more) {
      bytes.insert(bytes.end(), more.begin(), more.end());
    };
    append(master.raw());
    append(state1.raw());
    append(state2.raw());
    append(gradient.raw());
    append(working.raw());
    append(ema.raw());
    return bytes;
  }

  std::int64_t size;
  std::mt19937 generator;
  typename B::Stream stream;
  std::vector<M> start = random_values<M>(generator, size, 1.0);
  std::vector<ParameterRun> host_runs = random_runs(generator, size);
  Buffer<B, M> master{stream, start}, state1{stream, count()}, state2{stream, count()}, ema{stream, start};
  Buffer<B, G> gradient{stream, count()};
  Buffer<B, W> working{stream, count()};
  Buffer<B, ParameterRun> runs{stream, host_runs};
  Buffer<B, ScalerState> scaler{stream, std::vector<ScalerState>(1)};
  Buffer<B, StepState> step{stream, std::vector<StepState>(1)};

 private:
  std::size_t count() const { return static_cast<std::size_t>(size); }
};

}  // namespace optimizer_tests
