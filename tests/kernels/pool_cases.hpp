// SPDX-License-Identifier: Apache-2.0
// Cases for backend/*/pool and layout.
#include <mixprec/backend/geometry.hpp>

#include "harness.hpp"

namespace mixprec::test {
namespace {

constexpr PoolGeometry pooling(std::int64_t n, std::int64_t h, std::int64_t w, std::int64_t c, int kernel, int stride,
                               int padding) {
  return {n,
          h,
          w,
          c,
          window_extent(h, kernel, stride, padding, 1),
          window_extent(w, kernel, stride, padding, 1),
          kernel,
          stride,
          padding};
}

inline std::vector<PoolGeometry> poolings() {
  return {pooling(1, 1, 1, 1, 1, 1, 0), pooling(2, 8, 8, 16, 2, 2, 0), pooling(2, 9, 7, 3, 3, 2, 1),
          pooling(1, 10, 11, 70, 3, 1, 1), pooling(3, 7, 7, 5, 2, 3, 0)};
}

/// Calls body(output element, input element, position in the window) for every input under a window, positions rising.
template <class Body>
void for_each_window_element(PoolGeometry const& g, Body const& body) {
  for (std::int64_t n = 0; n < g.n; ++n)
    for (std::int64_t p = 0; p < g.p; ++p)
      for (std::int64_t q = 0; q < g.q; ++q)
        for (std::int64_t r = 0; r < g.kernel; ++r)
          for (std::int64_t s = 0; s < g.kernel; ++s) {
            std::int64_t const h = p * g.stride - g.padding + r, w = q * g.stride - g.padding + s;
            if (h < 0 || h >= g.h || w < 0 || w >= g.w) continue;
            for (std::int64_t c = 0; c < g.c; ++c) {
              body(((n * g.p + p) * g.q + q) * g.c + c, ((n * g.h + h) * g.w + w) * g.c + c, r * g.kernel + s);
            }
          }
}

template <class Index, class Stream>
void check_max_pooling(Stream& stream, PoolGeometry const& g) {
  for_each_dtype<TestBackend>([&]<class T>() {
    auto values = normal_values<T>(g.inputs(), 60);
    for (T& value : values) value = convert<T>(std::round(2 * convert<float>(value)));  // many equal elements
    values.back() = convert<T>(std::numeric_limits<float>::quiet_NaN());
    auto const upstream = normal_values<T>(g.outputs(), 61);
    Buffer<TestBackend, T> x(stream, values), y(stream, g.outputs()), y_alone(stream, g.outputs());
    Buffer<TestBackend, T> dy(stream, upstream), dx(stream, g.inputs());
    Buffer<TestBackend, Index> index(stream, g.outputs());
    max_pool2d_forward(stream, g, static_cast<T const*>(x), y.get(), index.get());
    max_pool2d_forward(stream, g, static_cast<T const*>(x), y_alone.get(), static_cast<Index*>(nullptr));
    max_pool2d_backward(stream, g, static_cast<T const*>(dy), static_cast<Index const*>(index), dx.get());
    auto const outputs = static_cast<std::size_t>(g.outputs());
    std::vector<Expected> best(outputs, {-std::numeric_limits<double>::infinity()});
    std::vector<Index> positions(outputs);
    std::vector<std::int64_t> winners(outputs, -1);
    for_each_window_element(g, [&](std::int64_t to, std::int64_t from, std::int64_t position) {
      auto const o = static_cast<std::size_t>(to);
      double const value = at(values, from);
      if (value > best[o].value || std::isnan(value)) {
        best[o].value = value;
        positions[o] = static_cast<Index>(position);
        winners[o] = from;
      }
    });
    std::vector<Expected> gradients(values.size(), {0, 0});
    for (std::size_t o = 0; o < outputs; ++o) {
      auto& gradient = gradients[static_cast<std::size_t>(winners[o])];
      gradient.value += convert<double>(upstream[o]);
      gradient.error += sum_error<T>(g.kernel * g.kernel) * std::abs(convert<double>(upstream[o]));
    }
    check_close(y.read(), best);
    check_close(y_alone.read(), best);
    check_same(index.read(), positions);
    check_close(dx.read(), gradients);
  });
}

MIXPREC_KERNEL_TEST("max pooling takes the first maximum, lets NaN win, and sends the gradient back to it") {
  for (PoolGeometry const& g : poolings()) check_max_pooling<std::uint8_t>(stream, g);
}

MIXPREC_KERNEL_TEST("max pooling numbers the positions of large windows in 32 bits") {
  for (PoolGeometry const& g : {pooling(2, 20, 18, 3, 17, 1, 8), pooling(1, 40, 37, 16, 18, 3, 2)}) {
    check_max_pooling<std::int32_t>(stream, g);
  }
}

MIXPREC_KERNEL_TEST("max pooling refuses an index that cannot number the window's positions") {
  Buffer<TestBackend, float> x(stream, 17 * 17), y(stream, 1);
  Buffer<TestBackend, std::uint8_t> index(stream, 1);
  CHECK_THROWS_AS(
      max_pool2d_forward(stream, pooling(1, 17, 17, 1, 17, 1, 0), static_cast<float const*>(x), y.get(), index.get()),
      Error);
}

MIXPREC_KERNEL_TEST("average pooling counts padding as zeros and its gradient is the transpose") {
  for (PoolGeometry const& g : poolings()) {
    for_each_dtype<TestBackend>([&]<class T>() {
      auto const values = normal_values<T>(g.inputs(), 62), upstream = normal_values<T>(g.outputs(), 63);
      Buffer<TestBackend, T> x(stream, values), y(stream, g.outputs()), dy(stream, upstream), dx(stream, g.inputs());
      avg_pool2d_forward(stream, g, static_cast<T const*>(x), y.get());
      avg_pool2d_backward(stream, g, static_cast<T const*>(dy), dx.get());
      std::vector<Expected> results(upstream.size(), {0, 0}), gradients(values.size(), {0, 0});
      double const factor = 1.0 / (g.kernel * g.kernel);
      auto const accumulate = [&](Expected& sum, double term) {
        sum.value += factor * term;
        sum.error += sum_error<T>(g.kernel * g.kernel) * factor * std::abs(term);
      };
      for_each_window_element(g, [&](std::int64_t to, std::int64_t from, std::int64_t) {
        accumulate(results[static_cast<std::size_t>(to)], at(values, from));
        accumulate(gradients[static_cast<std::size_t>(from)], at(upstream, to));
      });
      check_close(y.read(), results);
      check_close(dx.read(), gradients);
    });
  }
}

MIXPREC_KERNEL_TEST("global average pooling is the mean over positions and its gradient spreads evenly") {
  for (std::int64_t const hw : {1, 3, 49, 1025}) {
    for (std::int64_t const c : {1, 17, 130}) {
      for_each_dtype<TestBackend>([&]<class T>() {
        std::int64_t const n = 3, count = n * hw * c;
        auto const values = normal_values<T>(count, 64), upstream = normal_values<T>(n * c, 65);
        Buffer<TestBackend, T> x(stream, values), y(stream, n * c), dy(stream, upstream), dx(stream, count);
        global_avg_pool2d_forward(stream, n, hw, c, static_cast<T const*>(x), y.get());
        global_avg_pool2d_backward(stream, n, hw, c, static_cast<T const*>(dy), dx.get());
        std::vector<Expected> results(upstream.size(), {0, 0}), gradients;
        for (std::int64_t i = 0; i < count; ++i) {
          std::int64_t const to = i / (hw * c) * c + i % c;
          auto& result = results[static_cast<std::size_t>(to)];
          result.value += at(values, i) / static_cast<double>(hw);
          result.error += sum_error<T>(hw) * std::abs(at(values, i)) / static_cast<double>(hw);
          double const gradient = at(upstream, to) / static_cast<double>(hw);
          gradients.push_back({gradient, 2 * arithmetic<T> * std::abs(gradient)});
        }
        check_close(y.read(), results);
        check_close(dx.read(), gradients);
      });
    }
  }
}

MIXPREC_KERNEL_TEST("layout changes move every element to its place and back") {
  for (std::int64_t const hw : {1, 17, 1025}) {
    for (std::int64_t const c : {1, 3, 70}) {
      for_each_dtype<TestBackend>([&]<class T>() {
        std::int64_t const n = 2, count = n * hw * c;
        auto const values = normal_values<T>(count, 66);
        Buffer<TestBackend, T> x(stream, values), y(stream, count), back(stream, count);
        nhwc_to_nchw(stream, n, hw, c, static_cast<T const*>(x), y.get());
        nchw_to_nhwc(stream, n, hw, c, static_cast<T const*>(y), back.get());
        std::vector<T> expected(values.size());
        for (std::int64_t i = 0; i < count; ++i) {
          std::int64_t const image = i / (hw * c), position = i / c % hw, channel = i % c;
          expected[static_cast<std::size_t>((image * c + channel) * hw + position)] =
              values[static_cast<std::size_t>(i)];
        }
        check_same(y.read(), expected);
        check_same(back.read(), values);
      });
    }
  }
}

MIXPREC_KERNEL_TEST("adaptive average pooling averages PyTorch's bins and its gradient is the transpose") {
  AdaptivePoolGeometry const geometries[] = {{2, 3, {7, 3}, {9, 2}},    {1, 16, {6, 6}, {6, 6}},
                                             {3, 70, {13, 6}, {11, 6}}, {1, 264, {64, 1}, {33, 1}},
                                             {2, 8, {2, 5}, {3, 4}},    {1, 1, {1, 1}, {1, 3}}};
  for (AdaptivePoolGeometry const& g : geometries) {
    INFO("c " << g.c << " " << g.rows.extent << " x " << g.columns.extent << " to " << g.rows.bins << " x "
              << g.columns.bins);
    for_each_dtype<TestBackend>([&]<class T>() {
      auto const values = normal_values<T>(g.inputs(), 63), upstream = normal_values<T>(g.outputs(), 64);
      Buffer<TestBackend, T> x(stream, values), y(stream, g.outputs()), dy(stream, upstream), dx(stream, g.inputs());
      adaptive_avg_pool2d_forward(stream, g, static_cast<T const*>(x), y.get());
      adaptive_avg_pool2d_backward(stream, g, static_cast<T const*>(dy), dx.get());
      std::vector<Expected> means(upstream.size(), {0, 0}), gradients(values.size(), {0, 0});
      auto const bounds = [](AdaptiveAxis const& axis, std::int64_t bin) {  // PyTorch's formula in floating point
        double const part = static_cast<double>(axis.extent) / static_cast<double>(axis.bins);
        return std::pair{static_cast<std::int64_t>(std::floor(static_cast<double>(bin) * part + 1e-9)),
                         static_cast<std::int64_t>(std::ceil(static_cast<double>(bin + 1) * part - 1e-9))};
      };
      for (std::int64_t n = 0; n < g.n; ++n)
        for (std::int64_t p = 0; p < g.rows.bins; ++p)
          for (std::int64_t q = 0; q < g.columns.bins; ++q) {
            auto const [top, bottom] = bounds(g.rows, p);
            auto const [left, right] = bounds(g.columns, q);
            double const size = static_cast<double>((bottom - top) * (right - left));
            for (std::int64_t h = top; h < bottom; ++h)
              for (std::int64_t w = left; w < right; ++w)
                for (std::int64_t c = 0; c < g.c; ++c) {
                  std::int64_t const to = ((n * g.rows.bins + p) * g.columns.bins + q) * g.c + c;
                  std::int64_t const from = ((n * g.rows.extent + h) * g.columns.extent + w) * g.c + c;
                  auto& mean = means[static_cast<std::size_t>(to)];
                  auto& gradient = gradients[static_cast<std::size_t>(from)];
                  mean.value += at(values, from) / size;
                  mean.error += sum_error<T>(static_cast<std::int64_t>(size) + 1) * std::abs(at(values, from)) / size;
                  gradient.value += at(upstream, to) / size;
                  gradient.error += 8 * arithmetic<T> * std::abs(at(upstream, to)) / size;
                }
          }
      check_close(y.read(), means);
      check_close(dx.read(), gradients);
    });
  }
}

MIXPREC_KERNEL_TEST("permute follows its order of axes, up to six of them") {
  std::int64_t const extents[6] = {2, 3, 1, 4, 5, 7};
  for (int const rank : {1, 2, 3, 6}) {
    std::vector<int> order;
    for (int axis = 0; axis < rank; ++axis) order.push_back((axis * 5 + 1) % rank);
    if (rank == 2 || rank == 3 || rank == 6) CHECK(order[0] == 1);
    std::int64_t count = 1;
    for (int axis = 0; axis < rank; ++axis) count *= extents[axis];
    auto const values = normal_values<float>(count, 67);
    Buffer<TestBackend, float> x(stream, values), y(stream, count);
    permute(stream, rank, extents, order.data(), static_cast<float const*>(x), y.get());
    std::vector<float> expected(values.size());
    for (std::int64_t i = 0; i < count; ++i) {
      std::int64_t position[6] = {}, rest = i, to = 0;
      for (int axis = rank; axis-- > 0; rest /= extents[axis]) position[axis] = rest % extents[axis];
      for (int axis = 0; axis < rank; ++axis) to = to * extents[order[axis]] + position[order[axis]];
      expected[static_cast<std::size_t>(to)] = values[static_cast<std::size_t>(i)];
    }
    check_same(y.read(), expected);
  }
}

}  // namespace
}  // namespace mixprec::test
