// SPDX-License-Identifier: Apache-2.0
// Cases for backend/*/depthwise: convolutions of which ConvGeometry::depthwise_3x3() holds.
#include "conv2d_oracle.hpp"
#include "harness.hpp"

namespace mixprec::test {
namespace {

// Every extent with every dilation (some larger than the image), padding and stride; channels in turns, so that whole
// vectors, rests of them and single channels meet all of them over the whole list.
inline std::vector<ConvGeometry> depthwise_convolutions() {
  constexpr std::int64_t extents[][2] = {{1, 1}, {5, 7}, {33, 17}}, channels[] = {3, 8, 1, 20, 64};
  std::vector<ConvGeometry> result;
  for (auto const& [h, w] : extents) {
    for (int const dilation : {1, 2, 12, 36}) {
      for (int const padding : {0, 1, dilation, dilation + 1}) {
        for (int const stride : {1, 2}) {
          std::int64_t const c = channels[result.size() % 5], n = 1 + static_cast<std::int64_t>(result.size() % 3);
          ConvGeometry const g = convolution(n, h, w, c, c, 3, stride, padding, dilation, static_cast<int>(c));
          if (g.outputs() > 0) result.push_back(g);
        }
      }
    }
  }
  auto const same = [&](std::int64_t n, std::int64_t h, std::int64_t w, std::int64_t c, int dilation) {
    result.push_back(convolution(n, h, w, c, c, 3, 1, dilation, dilation, static_cast<int>(c)));
  };
  same(2, 33, 17, 512, 1);  // several blocks of channels
  same(1, 5, 7, 560, 1);    // the last one not full
  same(2, 40, 40, 64, 12);  // phases of three and four rows, in several parts
  same(9, 33, 17, 6, 2);    // strips of several images in one block
  same(1, 3, 70, 2, 1);
  return result;
}

MIXPREC_KERNEL_TEST("depthwise 3x3 convolutions and their gradients match the definition, the weight's twice") {
  for (ConvGeometry const& g : depthwise_convolutions()) {
    REQUIRE(g.depthwise_3x3());
    INFO("x " << g.n << "," << g.h << "," << g.w << "," << g.c << " stride " << g.stride << " padding " << g.padding
              << " dilation " << g.dilation);
    for_each_dtype<TestBackend>([&]<class T>() {
      auto const inputs = normal_values<T>(g.inputs(), 70), weights = normal_values<T>(g.weights(), 71);
      auto const upstream = normal_values<T>(g.outputs(), 72), offsets = normal_values<T>(g.k, 73);
      Buffer<TestBackend, T> x(stream, inputs), w(stream, weights), dy(stream, upstream), bias(stream, offsets);
      Buffer<TestBackend, T> y(stream, g.outputs()), plain(stream, g.outputs()), dx(stream, g.inputs());
      Buffer<TestBackend, T> dw(stream, g.weights()), again(stream, g.weights());
      T const *px = x, *pw = w, *pdy = dy;
      conv2d_forward(stream, g, px, pw, static_cast<T const*>(bias), y.get());
      conv2d_forward(stream, g, px, pw, static_cast<T const*>(nullptr), plain.get());
      conv2d_backward_input(stream, g, pdy, pw, dx.get());
      conv2d_backward_weight(stream, g, px, pdy, dw.get());
      conv2d_backward_weight(stream, g, px, pdy, again.get());

      ConvOracle expected(g, inputs, weights, upstream);
      check_close(plain.read(), expected.y);
      check_close(dx.read(), expected.dx);
      check_close(dw.read(), expected.dw);
      check_same(again.read(), dw.read());
      for (std::size_t i = 0; i < expected.y.size(); ++i) {
        expected.y[i].value += at(offsets, static_cast<std::int64_t>(i) % g.k);
        expected.y[i].error += 8 * arithmetic<T>;
      }
      check_close(y.read(), expected.y);
    });
  }
}

MIXPREC_KERNEL_TEST(
    "a depthwise convolution reads no pixel beside the image and lets an infinity reach its window only") {
  for (int const dilation : {1, 2, 12}) {
    ConvGeometry const g = convolution(1, 9, 14, 8, 8, 3, 1, dilation, dilation, 8);
    for_each_dtype<TestBackend>([&]<class T>() {
      std::int64_t const row = 4, column = 6, channel = 3;
      auto inputs = normal_values<T>(g.inputs(), 74);
      auto const weights = normal_values<T>(g.weights(), 75);
      inputs[static_cast<std::size_t>((row * g.w + column) * g.c + channel)] =
          convert<T>(std::numeric_limits<float>::infinity());
      Buffer<TestBackend, T> x(stream, inputs), w(stream, weights), y(stream, g.outputs()), dx(stream, g.inputs());
      T const *px = x, *pw = w;
      conv2d_forward(stream, g, px, pw, static_cast<T const*>(nullptr), y.get());
      conv2d_backward_input(stream, g, px, pw, dx.get());
      for (auto const& result : {y.read(), dx.read()}) {
        std::int64_t wrong = 0;
        for (std::int64_t i = 0; i < g.inputs(); ++i) {
          std::int64_t const down = i / (g.w * g.c) - row, right = i / g.c % g.w - column;
          bool const reached = i % g.c == channel && down % dilation == 0 && right % dilation == 0 &&
                               std::abs(down) <= dilation && std::abs(right) <= dilation;
          wrong += std::isfinite(at(result, i)) == reached ? 1 : 0;
        }
        CHECK(wrong == 0);
      }
    });
  }
}

}  // namespace
}  // namespace mixprec::test
