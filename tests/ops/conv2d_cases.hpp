// SPDX-License-Identifier: Apache-2.0
// Cases for ops/conv2d.hpp. The geometry is run-time state, so that one instantiation serves all of them.
#include "harness.hpp"

namespace mixprec::test {
namespace {

struct ConvSettings {
  Shape<4> input, weight;
  int stride, padding, dilation, groups;
};

template <bool Bias>
struct ConvCase {
  static inline ConvSettings now{Shape{1, 1, 1, 1}, Shape{1, 1, 1, 1}, 1, 0, 1, 1};
  Parameter<4> input{now.input}, weight{now.weight};
  Parameter<1> bias{Shape{now.weight[0]}};
  MIXPREC_MODULE(input, weight, bias)
  constexpr auto operator()(auto const& x) const {
    ops::Conv2d const op{{}, now.stride, now.padding, now.dilation, now.groups};
    auto const image = leaf<Fp16Op>(x, input);
    if constexpr (Bias) {
      return apply(op, x.place(), image, weight, bias);
    } else {
      return apply(op, x.place(), image, weight);
    }
  }
};

ConvSettings const geometries[] = {
    {Shape{2, 3, 7, 6}, Shape{4, 3, 3, 3}, 1, 1, 1, 1}, {Shape{1, 4, 8, 9}, Shape{6, 4, 3, 3}, 2, 1, 1, 1},
    {Shape{2, 2, 9, 9}, Shape{3, 2, 3, 3}, 1, 2, 2, 1}, {Shape{2, 4, 6, 6}, Shape{8, 2, 3, 3}, 1, 0, 1, 2},
    {Shape{1, 3, 5, 5}, Shape{3, 1, 3, 3}, 2, 1, 1, 3}, {Shape{3, 5, 4, 4}, Shape{2, 5, 1, 1}, 2, 0, 1, 1}};

template <bool Bias>
void check_geometries() {
  unsigned seed = 1;
  for (ConvSettings const& geometry : geometries) {
    INFO("input " << to_string(geometry.input) << " weight " << to_string(geometry.weight));
    ConvCase<Bias>::now = geometry;
    check_op<ConvCase<Bias>, TestBackend>({.seed = seed++, .terms = 200});
  }
}

TEST_CASE("conv2d with bias agrees with the oracle for every stride, padding, dilation and number of groups") {
  check_geometries<true>();
}

TEST_CASE("conv2d without bias agrees with the oracle, and the bias that is not used gets no gradient") {
  check_geometries<false>();
}

TEST_CASE("conv2d refuses a geometry that is none, by name and value") {
  struct {
    ConvSettings settings;
    char const* text;
  } const cases[] = {{{Shape{1, 4, 6, 6}, Shape{4, 4, 3, 0}, 1, 0, 1, 1},
                      "kernel and its least extent do not fit: expected 1, received 0"},
                     {{Shape{1, 4, 6, 6}, Shape{4, 4, 3, 3}, 0, 0, 1, 1},
                      "stride and its least value do not fit: expected 1, received 0"},
                     {{Shape{1, 4, 6, 6}, Shape{4, 4, 3, 3}, 1, -1, 1, 1},
                      "padding and its least value do not fit: expected 0, received -1"},
                     {{Shape{1, 4, 6, 6}, Shape{4, 4, 3, 3}, 1, 0, 0, 1},
                      "dilation and its least value do not fit: expected 1, received 0"},
                     {{Shape{1, 4, 6, 6}, Shape{4, 4, 3, 3}, 1, 0, 1, 0},
                      "groups and their least number do not fit: expected 1, received 0"},
                     {{Shape{1, 4, 6, 6}, Shape{3, 2, 3, 3}, 1, 0, 1, 2},
                      "output channels and a multiple of the groups do not fit: expected 4, received 3"}};
  for (auto const& [settings, text] : cases) {
    CAPTURE(text);
    Session<TestBackend> session(1);
    auto const value = [&](Shape<4> shape) {
      return Value<TestBackend, float, 4, dynamic_channels, Fp32>(session, session.allocate<float>(shape), {}, {});
    };
    ops::Conv2d const op{{}, settings.stride, settings.padding, settings.dilation, settings.groups};
    std::string message;
    try {
      apply(op, {}, value(settings.input), value(settings.weight));
    } catch (Error const& error) {
      message = error.what();
    }
    CHECK(message.find(std::string("conv2d: ") + text) != std::string::npos);
  }
}

}  // namespace
}  // namespace mixprec::test
