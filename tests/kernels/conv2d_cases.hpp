// SPDX-License-Identifier: Apache-2.0
// Cases for backend/*/conv2d.
#include "conv2d_oracle.hpp"
#include "harness.hpp"

namespace mixprec::test {
namespace {

inline std::vector<ConvGeometry> convolutions() {
  return {convolution(1, 1, 1, 1, 1, 1, 1, 0, 1, 1),    convolution(2, 7, 5, 3, 5, 3, 1, 1, 1, 1),
          convolution(2, 9, 8, 16, 32, 3, 2, 1, 1, 1),  convolution(1, 11, 10, 6, 9, 3, 1, 2, 2, 3),
          convolution(2, 8, 8, 8, 8, 3, 1, 1, 1, 8),    convolution(3, 6, 7, 17, 33, 1, 1, 0, 1, 1),
          convolution(2, 10, 9, 4, 6, 1, 2, 0, 1, 1),   convolution(1, 17, 17, 3, 8, 7, 2, 3, 1, 1),
          convolution(4, 28, 28, 1, 16, 3, 1, 1, 1, 1), convolution(1, 12, 12, 130, 140, 3, 1, 1, 1, 1),
          convolution(3, 9, 19, 32, 32, 3, 1, 1, 1, 1), convolution(1, 7, 5, 64, 64, 3, 1, 1, 1, 1),
          convolution(1, 15, 13, 1, 32, 3, 2, 1, 1, 1), convolution(1, 8, 7, 32, 32, 3, 2, 1, 1, 1)};
}

MIXPREC_KERNEL_TEST("conv2d and its gradients match the definition for strides, padding, dilation and groups") {
  for (ConvGeometry const& g : convolutions()) {
    INFO("x " << g.n << "," << g.h << "," << g.w << "," << g.c << " k " << g.k << " kernel " << g.r << " stride "
              << g.stride << " padding " << g.padding << " dilation " << g.dilation << " groups " << g.groups);
    for_each_dtype<TestBackend>([&]<class T>() {
      auto const inputs = normal_values<T>(g.inputs(), 50), weights = normal_values<T>(g.weights(), 51);
      auto const upstream = normal_values<T>(g.outputs(), 52), offsets = normal_values<T>(g.k, 53);
      Buffer<TestBackend, T> x(stream, inputs), w(stream, weights), dy(stream, upstream), bias(stream, offsets);
      Buffer<TestBackend, T> y(stream, g.outputs()), plain(stream, g.outputs()), dx(stream, g.inputs());
      Buffer<TestBackend, T> dw(stream, g.weights());
      T const *px = x, *pw = w, *pdy = dy;
      conv2d_forward(stream, g, px, pw, static_cast<T const*>(bias), y.get());
      conv2d_forward(stream, g, px, pw, static_cast<T const*>(nullptr), plain.get());
      conv2d_backward_input(stream, g, pdy, pw, dx.get());
      conv2d_backward_weight(stream, g, px, pdy, dw.get());

      ConvOracle expected(g, inputs, weights, upstream);
      check_close(plain.read(), expected.y);
      check_close(dx.read(), expected.dx);
      check_close(dw.read(), expected.dw);
      for (std::size_t i = 0; i < expected.y.size(); ++i) {
        expected.y[i].value += at(offsets, static_cast<std::int64_t>(i) % g.k);
        expected.y[i].error += 8 * arithmetic<T>;
      }
      check_close(y.read(), expected.y);
    });
  }
}

}  // namespace
}  // namespace mixprec::test
