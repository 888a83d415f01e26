// SPDX-License-Identifier: Apache-2.0
// Cases for ops/pool.hpp.
#include "harness.hpp"

namespace mixprec::test {
namespace {

struct Window {
  Shape<4> input;
  int kernel, stride, padding;
};

template <bool Max>
struct PoolCase {
  static inline Window now{Shape{1, 1, 1, 1}, 1, 1, 0};
  Parameter<4> input{now.input};
  MIXPREC_MODULE(input)
  constexpr auto operator()(auto const& x) const {
    auto const image = leaf<Fp16Op>(x, input);
    if constexpr (Max) {
      return max_pool2d(image, now.kernel, now.stride, now.padding);
    } else {
      return avg_pool2d(image, now.kernel, now.stride, now.padding);
    }
  }
};

struct GlobalPoolCase {
  Parameter<4> input{Shape{3, 5, 4, 6}};
  MIXPREC_MODULE(input)
  constexpr auto operator()(auto const& x) const { return global_avg_pool2d(leaf<Fp16Op>(x, input)); }
};

/// The last kernel has more positions than a byte holds.
Window const windows[] = {{Shape{2, 3, 6, 8}, 2, 2, 0},
                          {Shape{1, 4, 7, 7}, 3, 2, 1},
                          {Shape{2, 2, 5, 5}, 3, 1, 1},
                          {Shape{1, 4, 9, 1}, 17, 1, 8}};

template <bool Max>
void check_windows() {
  for (Window const& window : windows) {
    INFO("kernel " << window.kernel << " stride " << window.stride << " padding " << window.padding);
    PoolCase<Max>::now = window;
    check_op<PoolCase<Max>, TestBackend>({.seed = 1, .terms = window.kernel * window.kernel});
  }
}

TEST_CASE("max pooling agrees with the oracle under every policy") { check_windows<true>(); }

TEST_CASE("average pooling agrees with the oracle under every policy") { check_windows<false>(); }

TEST_CASE("global average pooling agrees with the oracle under every policy") {
  check_op<GlobalPoolCase, TestBackend>({.seed = 2, .terms = 24});
}

struct Grid {
  Shape<4> input;
  int height, width;
};

struct AdaptivePoolCase {
  static inline Grid now{Shape{1, 1, 1, 1}, 1, 1};
  Parameter<4> input{now.input};
  MIXPREC_MODULE(input)
  constexpr auto operator()(auto const& x) const {
    return adaptive_avg_pool2d(leaf<Fp16Op>(x, input), now.height, now.width);
  }
};

TEST_CASE("adaptive average pooling agrees with the oracle under every policy, bins that overlap and repeat included") {
  for (Grid const& grid :
       {Grid{Shape{2, 3, 7, 9}, 3, 2}, Grid{Shape{1, 8, 6, 6}, 1, 1}, Grid{Shape{1, 16, 5, 4}, 6, 6}}) {
    INFO("grid " << grid.height << " by " << grid.width);
    AdaptivePoolCase::now = grid;
    check_op<AdaptivePoolCase, TestBackend>({.seed = 3, .terms = 36});
  }
}

/// What an op says of a window; empty where it says nothing.
std::string refusal(Window const& window, bool max) {
  Session<TestBackend> session(1);
  Value<TestBackend, float, 4, 2, Fp32> const x(session, session.allocate<float>(window.input), {}, {});
  try {
    if (max) {
      max_pool2d(x, window.kernel, window.stride, window.padding);
    } else {
      avg_pool2d(x, window.kernel, window.stride, window.padding);
    }
  } catch (Error const& error) {
    return error.what();
  }
  return {};
}

TEST_CASE("pooling refuses a window that is none, by name and value") {
  Shape<4> const input{1, 2, 6, 6};
  struct {
    Window window;
    char const* text;
  } const cases[] = {
      {{input, 0, 0, 0}, "kernel and its least value do not fit: expected 1, received 0"},
      {{input, -3, 1, 0}, "kernel and its least value do not fit: expected 1, received -3"},
      {{input, 46341, 1, 23170}, "kernel and its largest value do not fit: expected 46340, received 46341"},
      {{input, 2, -1, 0}, "stride and its least value do not fit: expected 1, received -1"},
      {{input, 2, 1, -1}, "padding and its least value do not fit: expected 0, received -1"},
      {{input, 3, 1, 2}, "padding (at most half the kernel) and kernel do not fit: expected 1, received 2"}};
  for (auto const& [window, text] : cases) {
    CAPTURE(text);
    CHECK(refusal(window, true).find(std::string("max_pool2d: ") + text) != std::string::npos);
    CHECK(refusal(window, false).find(std::string("avg_pool2d: ") + text) != std::string::npos);
  }
  CHECK(refusal({input, 2, 0, 0}, true).empty());  // stride 0 means the kernel
}

TEST_CASE("max pooling without a gradient takes memory for its result alone") {
  for (int const kernel : {2, 17}) {
    Session<TestBackend> session(1);
    Shape<4> const shape{4, 8, 32, 32};
    Value<TestBackend, float, 4, 8, Fp32> const x(session, session.allocate<float>(shape), {}, {});
    std::size_t const before = session.arena().live();
    session.arena().reset_high_water();
    auto const y = max_pool2d(x, kernel, 1);
    CHECK(session.arena().high_water() - before == arena_rounded(y.tensor().bytes()));
  }
}

}  // namespace
}  // namespace mixprec::test
