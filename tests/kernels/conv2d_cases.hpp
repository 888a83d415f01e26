// SPDX-License-Identifier: Apache-2.0
// Cases for backend/*/conv2d.
#include <mixprec/backend/geometry.hpp>

#include "harness.hpp"

namespace mixprec::test {
namespace {

constexpr ConvGeometry convolution(std::int64_t n, std::int64_t h, std::int64_t w, std::int64_t c, std::int64_t k,
                                   int kernel, int stride, int padding, int dilation, int groups) {
  return {n,
          h,
          w,
          c,
          k,
          kernel,
          kernel,
          window_extent(h, kernel, stride, padding, dilation),
          window_extent(w, kernel, stride, padding, dilation),
          stride,
          padding,
          dilation,
          groups};
}

inline std::vector<ConvGeometry> convolutions() {
  return {convolution(1, 1, 1, 1, 1, 1, 1, 0, 1, 1),    convolution(2, 7, 5, 3, 5, 3, 1, 1, 1, 1),
          convolution(2, 9, 8, 16, 32, 3, 2, 1, 1, 1),  convolution(1, 11, 10, 6, 9, 3, 1, 2, 2, 3),
          convolution(2, 8, 8, 8, 8, 3, 1, 1, 1, 8),    convolution(3, 6, 7, 17, 33, 1, 1, 0, 1, 1),
          convolution(2, 10, 9, 4, 6, 1, 2, 0, 1, 1),   convolution(1, 17, 17, 3, 8, 7, 2, 3, 1, 1),
          convolution(4, 28, 28, 1, 16, 3, 1, 1, 1, 1), convolution(1, 12, 12, 130, 140, 3, 1, 1, 1, 1)};
}

/// Adds every product of the convolution: body(y element, x element, w element).
template <class Body>
void for_each_product(ConvGeometry const& g, Body const& body) {
  std::int64_t const channels = g.c / g.groups, filters = g.k / g.groups;
  for (std::int64_t n = 0; n < g.n; ++n)
    for (std::int64_t p = 0; p < g.p; ++p)
      for (std::int64_t q = 0; q < g.q; ++q)
        for (std::int64_t k = 0; k < g.k; ++k)
          for (std::int64_t r = 0; r < g.r; ++r)
            for (std::int64_t s = 0; s < g.s; ++s) {
              std::int64_t const h = p * g.stride - g.padding + r * g.dilation;
              std::int64_t const w = q * g.stride - g.padding + s * g.dilation;
              if (h < 0 || h >= g.h || w < 0 || w >= g.w) continue;
              for (std::int64_t c = 0; c < channels; ++c) {
                body(((n * g.p + p) * g.q + q) * g.k + k, ((n * g.h + h) * g.w + w) * g.c + k / filters * channels + c,
                     ((k * g.r + r) * g.s + s) * channels + c);
              }
            }
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

      std::vector<Expected> ys(static_cast<std::size_t>(g.outputs()), {0, 0}), dws(weights.size(), {0, 0});
      std::vector<Expected> dxs(inputs.size(), {0, 0});
      double const y_error = sum_error<T>(g.r * g.s * g.c / g.groups), dw_error = sum_error<T>(g.n * g.p * g.q);
      double const dx_error = sum_error<T>(g.r * g.s * g.k / g.groups);
      auto const accumulate = [](Expected& sum, double term, double error) {
        sum.value += term;
        sum.error += error * std::abs(term);
      };
      for_each_product(g, [&](std::int64_t to, std::int64_t from, std::int64_t weight) {
        double const gradient = at(upstream, to), input = at(inputs, from), factor = at(weights, weight);
        accumulate(ys[static_cast<std::size_t>(to)], input * factor, y_error);
        accumulate(dxs[static_cast<std::size_t>(from)], gradient * factor, dx_error);
        accumulate(dws[static_cast<std::size_t>(weight)], gradient * input, dw_error);
      });
      check_close(plain.read(), ys);
      check_close(dx.read(), dxs);
      check_close(dw.read(), dws);
      for (std::size_t i = 0; i < ys.size(); ++i) {
        ys[i].value += at(offsets, static_cast<std::int64_t>(i) % g.k);
        ys[i].error += 8 * arithmetic<T>;
      }
      check_close(y.read(), ys);
    });
  }
}

}  // namespace
}  // namespace mixprec::test
