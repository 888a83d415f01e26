// SPDX-License-Identifier: Apache-2.0
// Cases for kernels that write columns of a wider matrix and read its gradient there: the bits of the dense call, and
// nothing beside the columns touched.
#include <mixprec/backend/resize_geometry.hpp>

#include "harness.hpp"

namespace mixprec::test {
namespace {

/// Where `columns` columns lie in a matrix of `stride` ones.
struct Placed {
  std::int64_t columns, first, stride;
};
inline std::vector<Placed> placements() {
  return {{16, 8, 40}, {16, 3, 40}, {16, 16, 33}, {7, 1, 9}, {1, 2, 4}, {64, 64, 128}};
}

/// The placed columns of a wider matrix, and whether the others still have what `outside` says.
template <class T>
std::vector<T> columns_of(std::vector<T> const& wide, Placed const& at, std::vector<T> const& outside) {
  std::vector<T> columns;
  std::int64_t touched = 0;
  for (std::size_t i = 0; i < wide.size(); ++i) {
    std::int64_t const column = static_cast<std::int64_t>(i) % at.stride - at.first;
    if (column >= 0 && column < at.columns) {
      columns.push_back(wide[i]);
    } else {
      touched += std::memcmp(&wide[i], &outside[i], sizeof(T)) != 0 ? 1 : 0;
    }
  }
  CHECK(touched == 0);
  return columns;
}

/// `values` as the placed columns of a wider matrix whose other elements are random.
template <class T>
std::vector<T> widened(std::vector<T> const& values, Placed const& at, int seed) {
  std::int64_t const rows = static_cast<std::int64_t>(values.size()) / at.columns;
  auto wide = normal_values<T>(rows * at.stride, seed);
  for (std::int64_t row = 0; row < rows; ++row)
    for (std::int64_t column = 0; column < at.columns; ++column)
      wide[static_cast<std::size_t>(row * at.stride + at.first + column)] =
          values[static_cast<std::size_t>(row * at.columns + column)];
  return wide;
}

/// `values` give or take `error`, in parts of each and of 1.
template <class T>
std::vector<Expected> around(std::vector<T> const& values, double error) {
  std::vector<Expected> expected;
  for (T const value : values) {
    double const wide = convert<double>(value);
    expected.push_back({wide, error * (1 + std::abs(wide))});
  }
  return expected;
}

MIXPREC_KERNEL_TEST(
    "batch norm writes columns of a wider matrix and reads their gradient, with the bits of a dense one") {
  for (Placed const& at : placements()) {
    for (bool const relu : {false, true}) {
      INFO("columns " << at.columns << " from " << at.first << " of " << at.stride << ", relu " << relu);
      for_each_dtype<TestBackend>([&]<class T>() {
        using Acc = accumulator_t<T>;
        std::int64_t const rows = 301, c = at.columns, n = rows * c;
        auto const upstream = normal_values<T>(n, 51), outside = normal_values<T>(rows * at.stride, 52);
        Buffer<TestBackend, T> x(stream, normal_values<T>(n, 50));
        Buffer<TestBackend, Acc> mean(stream, normal_values<Acc>(c, 53, 0, 0.1)),
            invstd(stream, normal_values<Acc>(c, 54, 1, 0.1));
        Buffer<TestBackend, float> weight(stream, normal_values<float>(c, 55)),
            bias(stream, normal_values<float>(c, 56));
        struct Results {
          std::vector<T> y, dx;
          std::vector<float> dweight, dbias;
        };
        auto const run = [&](Buffer<TestBackend, T>& y, Buffer<TestBackend, T> const& dy, std::int64_t first,
                             std::int64_t stride) {
          Buffer<TestBackend, T> dx(stream, n);
          Buffer<TestBackend, float> dweight(stream, c), dbias(stream, c);
          batch_norm_forward(stream, rows, c, static_cast<T const*>(x), static_cast<Acc const*>(mean),
                             static_cast<Acc const*>(invstd), static_cast<float const*>(weight),
                             static_cast<float const*>(bias), static_cast<T const*>(nullptr), relu, y.get() + first,
                             stride);
          batch_norm_backward(
              stream, rows, c, static_cast<T const*>(x), y.get() + first, static_cast<T const*>(dy) + first,
              static_cast<Acc const*>(mean), static_cast<Acc const*>(invstd), static_cast<float const*>(weight),
              static_cast<float const*>(bias), relu, true, dx.get(), nullptr, dweight.get(), dbias.get(), stride);
          return Results{y.read(), dx.read(), dweight.read(), dbias.read()};
        };
        Buffer<TestBackend, T> dense(stream, n), dense_gradient(stream, upstream);
        Buffer<TestBackend, T> wide(stream, outside), wide_gradient(stream, widened(upstream, at, 57));
        Results const expected = run(dense, dense_gradient, 0, 0),
                      placed = run(wide, wide_gradient, at.first, at.stride);
        check_same(columns_of(placed.y, at, outside), expected.y);
        if (at.first % 8 == 0 && at.stride % 8 == 0) {
          check_same(placed.dx, expected.dx);
          check_same(placed.dweight, expected.dweight);
          check_same(placed.dbias, expected.dbias);
        } else {  // another width of access may give the sums over rows another order
          double const sums = sum_error<float>(rows) * 8 * static_cast<double>(rows);
          check_close(placed.dx, around(expected.dx, 16 * arithmetic<T>));
          check_close(placed.dweight, around(expected.dweight, sums));
          check_close(placed.dbias, around(expected.dbias, sums));
        }
      });
    }
  }
}

MIXPREC_KERNEL_TEST("resize writes columns of a wider matrix and reads their gradient, with the bits of a dense one") {
  auto const check = [&]<class T>(Placed const& at, ResizeGeometry const& g) {
    auto const upstream = normal_values<T>(g.outputs(), 61);
    auto const outside = normal_values<T>(g.outputs() / at.columns * at.stride, 62);
    Buffer<TestBackend, T> x(stream, normal_values<T>(g.inputs(), 60));
    Buffer<TestBackend, T> y(stream, g.outputs()), dy(stream, upstream), dx(stream, g.inputs());
    Buffer<TestBackend, T> wide(stream, outside), wide_gradient(stream, widened(upstream, at, 63)),
        wide_dx(stream, g.inputs());
    resize_forward(stream, g, static_cast<T const*>(x), y.get());
    resize_backward(stream, g, static_cast<T const*>(dy), dx.get());
    resize_forward(stream, g, static_cast<T const*>(x), wide.get() + at.first, at.stride);
    resize_backward(stream, g, static_cast<T const*>(wide_gradient) + at.first, wide_dx.get(), at.stride);
    check_same(columns_of(wide.read(), at, outside), y.read());
    check_same(wide_dx.read(), dx.read());
  };
  for (Placed const& at : placements()) {
    INFO("columns " << at.columns << " from " << at.first << " of " << at.stride);
    for_each_dtype<TestBackend>([&]<class T>() {
      check.template operator()<T>(at, {2, at.columns, ResizeAxis::of(4, 9, false), ResizeAxis::of(7, 5, false)});
      // One pixel under many, whose gradient CUDA sums in parts.
      check.template operator()<T>(at, {2, at.columns, ResizeAxis::of(1, 40, false), ResizeAxis::of(1, 37, false)});
    });
  }
}

}  // namespace
}  // namespace mixprec::test
