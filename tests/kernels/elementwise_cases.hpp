// SPDX-License-Identifier: Apache-2.0
// Cases for backend/*/elementwise, relu and dropout: kernels that treat a tensor as a row of elements.
#include <mixprec/backend/philox.hpp>

#include "harness.hpp"

namespace mixprec::test {
namespace {

MIXPREC_KERNEL_TEST("cast rounds every pair of dtypes once") {
  for (std::int64_t const n : odd_sizes()) {
    for_each_dtype<TestBackend>([&]<class From>() {
      for_each_dtype<TestBackend>([&]<class To>() {
        std::vector<From> values = normal_values<From>(n, 1);
        values[0] = convert<From>(std::numeric_limits<float>::quiet_NaN());
        Buffer<TestBackend, From> x(stream, values);
        Buffer<TestBackend, To> y(stream, n);
        cast(stream, static_cast<From const*>(x.get()), y.get(), n);
        std::vector<To> expected;
        for (From const value : values) expected.push_back(convert<To>(value));
        auto const result = y.read();
        CHECK(std::isnan(at(result, 0)));
        expected[0] = result[0];
        check_same(result, expected);
      });
    });
  }
}

MIXPREC_KERNEL_TEST("fill, add, mul, scale and accumulate match their definitions in every dtype") {
  for (std::int64_t const n : odd_sizes()) {
    for_each_dtype<TestBackend>([&]<class T>() {
      auto const left = normal_values<T>(n, 2), right = normal_values<T>(n, 3);
      Buffer<TestBackend, T> a(stream, left), b(stream, right), sum(stream, n), product(stream, n), scaled(stream, n);
      Buffer<TestBackend, T> filled(stream, n), total(stream, right);
      Buffer<TestBackend, float> wide(stream, n);
      T const *pa = a, *pb = b;
      add(stream, pa, pb, sum.get(), n);
      mul(stream, pa, pb, product.get(), n);
      mul(stream, pa, pb, wide.get(), n);
      scale(stream, pa, 0.3, scaled.get(), n);
      fill(stream, filled.get(), 1.5, n);
      accumulate(stream, pa, total.get(), n);
      std::vector<Expected> sums, products, scales, fills;
      for (std::int64_t i = 0; i < n; ++i) {
        double const l = at(left, i), r = at(right, i);
        sums.push_back({l + r});
        products.push_back({l * r});
        scales.push_back({l * 0.3, 2 * arithmetic<T> * std::abs(l)});
        fills.push_back({1.5});
      }
      check_close(sum.read(), sums);
      check_close(product.read(), products);
      check_close(wide.read(), products);
      check_close(scaled.read(), scales);
      check_close(filled.read(), fills);
      check_close(total.read(), sums);
    });
  }
}

MIXPREC_KERNEL_TEST("relu passes NaN, clears negatives and its gradient follows the result's sign") {
  for (std::int64_t const n : odd_sizes()) {
    for_each_dtype<TestBackend>([&]<class T>() {
      auto values = normal_values<T>(n, 4);
      auto const upstream = normal_values<T>(n, 5);
      values[0] = convert<T>(std::numeric_limits<float>::quiet_NaN());
      if (n > 2) values[1] = convert<T>(-0.0f);
      Buffer<TestBackend, T> x(stream, values), dy(stream, upstream), y(stream, n), dx(stream, n);
      relu_forward(stream, static_cast<T const*>(x), y.get(), n);
      relu_backward(stream, static_cast<T const*>(y), static_cast<T const*>(dy), dx.get(), n);
      std::vector<Expected> results, gradients;
      for (std::int64_t i = 0; i < n; ++i) {
        double const value = at(values, i);
        results.push_back({value < 0 ? 0.0 : value});
        gradients.push_back({value > 0 ? at(upstream, i) : 0.0});
      }
      check_close(y.read(), results);
      check_close(dx.read(), gradients);
    });
  }
}

MIXPREC_KERNEL_TEST("dropout keeps the elements that Philox says and scales them") {
  std::uint64_t const seed = 0x123456789abcdef0u;
  Buffer<TestBackend, std::uint64_t> key(stream, std::vector<std::uint64_t>{seed});
  for (std::int64_t const n : odd_sizes()) {
    for (double const p : {0.0, 0.1, 0.5, 1.0}) {
      for_each_dtype<TestBackend>([&]<class T>() {
        auto const values = normal_values<T>(n, 6);
        Buffer<TestBackend, T> x(stream, values), y(stream, n);
        dropout(stream, static_cast<T const*>(x), y.get(), n, p, static_cast<std::uint64_t const*>(key),
                std::uint64_t{7});
        std::vector<Expected> expected;
        for (std::int64_t i = 0; i < n; ++i) {
          auto const words = philox4x32_10(seed, static_cast<std::uint64_t>(i / 4), 7);
          bool const kept = uniform_from(words.v[i % 4]) >= static_cast<float>(p);
          double const value = kept ? at(values, i) / (1 - p) : 0.0;
          expected.push_back({value, 2 * arithmetic<T> * std::abs(value)});
        }
        check_close(y.read(), expected);
      });
    }
  }
}

TEST_CASE("Philox4x32-10 gives the published known answers") {
  auto const same = [](Philox4 const& words, std::vector<std::uint32_t> const& expected) {
    return std::vector<std::uint32_t>(words.v, words.v + 4) == expected;
  };
  CHECK(same(philox4x32_10(0, 0, 0), {0x6627e8d5u, 0xe169c58du, 0xbc57ac4cu, 0x9b00dbd8u}));
  CHECK(same(philox4x32_10(~std::uint64_t{0}, ~std::uint64_t{0}, ~std::uint64_t{0}),
             {0x408f276du, 0x41c83b0eu, 0xa20bc7c6u, 0x6d5451fdu}));
  CHECK(same(philox4x32_10(0x299f31d0a4093822u, 0x85a308d3243f6a88u, 0x0370734413198a2eu),
             {0xd16cfe09u, 0x94fdccebu, 0x5001e420u, 0x24126ea1u}));
}

}  // namespace
}  // namespace mixprec::test
