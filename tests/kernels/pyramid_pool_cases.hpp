// SPDX-License-Identifier: Apache-2.0
// Cases for backend/*/pyramid_pool: every grid has adaptive pooling's bins, whose bounds pool_cases.hpp checks.
#include <mixprec/backend/geometry.hpp>

#include "harness.hpp"

namespace mixprec::test {
namespace {

MIXPREC_KERNEL_TEST("pyramid pooling averages the bins of all grids and its gradient is the transpose") {
  PyramidGeometry const geometries[] = {
      {2, 7, 9, 3, 4, {1, 2, 3, 6}}, {1, 6, 6, 16, 4, {1, 2, 3, 6}}, {1, 64, 33, 24, 4, {1, 2, 3, 6}},
      {2, 2, 3, 8, 2, {5, 4}},       {1, 1, 1, 1, 1, {3}},           {3, 13, 11, 70, 3, {6, 1, 4}}};
  for (PyramidGeometry const& g : geometries) {
    INFO(g.n << " x " << g.h << " x " << g.w << " x " << g.c << ", " << g.grids << " grids");
    for_each_dtype<TestBackend>([&]<class T>() {
      auto const values = normal_values<T>(g.inputs(), 65), upstream = normal_values<T>(g.outputs(), 66);
      Buffer<TestBackend, T> x(stream, values), y(stream, g.outputs()), dy(stream, upstream), dx(stream, g.inputs());
      pyramid_pool_forward(stream, g, static_cast<T const*>(x), y.get());
      pyramid_pool_backward(stream, g, static_cast<T const*>(dy), dx.get());
      std::vector<Expected> means(upstream.size(), {0, 0}), gradients(values.size(), {0, 0});
      for (std::int64_t n = 0; n < g.n; ++n) {
        std::int64_t bin = n * g.bins();
        for (int grid = 0; grid < g.grids; ++grid) {
          AdaptiveAxis const rows = g.rows(grid), columns = g.columns(grid);
          for (std::int64_t p = 0; p < g.grid[grid]; ++p)
            for (std::int64_t q = 0; q < g.grid[grid]; ++q, ++bin) {
              double const size = static_cast<double>(rows.size(p) * columns.size(q));
              for (std::int64_t h = rows.begin(p); h < rows.end(p); ++h)
                for (std::int64_t w = columns.begin(q); w < columns.end(q); ++w)
                  for (std::int64_t c = 0; c < g.c; ++c) {
                    std::int64_t const to = bin * g.c + c, from = ((n * g.h + h) * g.w + w) * g.c + c;
                    auto& mean = means[static_cast<std::size_t>(to)];
                    auto& gradient = gradients[static_cast<std::size_t>(from)];
                    mean.value += at(values, from) / size;
                    mean.error += sum_error<T>(static_cast<std::int64_t>(size) + 1) * std::abs(at(values, from)) / size;
                    gradient.value += at(upstream, to) / size;
                    gradient.error += 16 * arithmetic<T> * std::abs(at(upstream, to)) / size;
                  }
            }
        }
      }
      check_close(y.read(), means);
      check_close(dx.read(), gradients);
    });
  }
}

}  // namespace
}  // namespace mixprec::test
