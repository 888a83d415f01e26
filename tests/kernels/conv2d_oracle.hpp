// SPDX-License-Identifier: Apache-2.0
// What tests of convolutions share: geometries, and the definition of a convolution as a sum of products.
#pragma once

#include <cmath>
#include <cstdint>
#include <vector>

#include <mixprec/backend/geometry.hpp>

#include "harness.hpp"

namespace mixprec::test {

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

/// A convolution and its gradients by definition, with the errors that kernels may add.
struct ConvOracle {
  template <class T>
  ConvOracle(ConvGeometry const& g, std::vector<T> const& x, std::vector<T> const& w, std::vector<T> const& dy)
      : y(dy.size(), {0, 0}), dx(x.size(), {0, 0}), dw(w.size(), {0, 0}) {
    double const y_error = sum_error<T>(g.r * g.s * g.c / g.groups), dw_error = sum_error<T>(g.n * g.p * g.q);
    double const dx_error = sum_error<T>(g.r * g.s * g.k / g.groups);
    auto const accumulate = [](Expected& sum, double term, double error) {
      sum.value += term;
      sum.error += error * std::abs(term);
    };
    for_each_product(g, [&](std::int64_t to, std::int64_t from, std::int64_t weight) {
      double const gradient = at(dy, to), input = at(x, from), factor = at(w, weight);
      accumulate(y[static_cast<std::size_t>(to)], input * factor, y_error);
      accumulate(dx[static_cast<std::size_t>(from)], gradient * factor, dx_error);
      accumulate(dw[static_cast<std::size_t>(weight)], gradient * input, dw_error);
    });
  }
  std::vector<Expected> y, dx, dw;
};

}  // namespace mixprec::test
