// SPDX-License-Identifier: Apache-2.0
// Cases for backend/*/concat: every element between the columns that are copied stays as it was.
#include "kernels/harness.hpp"

namespace mixprec::test {
namespace {

MIXPREC_KERNEL_TEST("copy_columns rounds every pair of dtypes once and touches its columns only") {
  struct Sizes {
    std::int64_t rows, columns, x_stride, y_stride, x_first, y_first;
  };
  // Wide, odd, misaligned by the offset alone, one row, one column.
  for (Sizes const s : {Sizes{37, 16, 16, 48, 0, 16}, Sizes{37, 5, 9, 7, 2, 1}, Sizes{37, 16, 32, 32, 4, 3},
                        Sizes{1, 64, 64, 64, 0, 0}, Sizes{300, 1, 3, 2, 1, 1}, Sizes{0, 8, 8, 8, 0, 0}}) {
    for_each_dtype<TestBackend>([&]<class X>() {
      for_each_dtype<TestBackend>([&]<class Y>() {
        auto const values = normal_values<X>(s.rows * s.x_stride + s.x_first, 1);
        auto expected = normal_values<Y>(s.rows * s.y_stride + s.y_first, 2);
        Buffer<TestBackend, X> x(stream, values);
        Buffer<TestBackend, Y> y(stream, expected);
        copy_columns(stream, s.rows, s.columns, static_cast<X const*>(x) + s.x_first, s.x_stride, y.get() + s.y_first,
                     s.y_stride);
        for (std::int64_t row = 0; row < s.rows; ++row)
          for (std::int64_t column = 0; column < s.columns; ++column)
            expected[static_cast<std::size_t>(row * s.y_stride + s.y_first + column)] =
                convert<Y>(values[static_cast<std::size_t>(row * s.x_stride + s.x_first + column)]);
        check_same(y.read(), expected);
      });
    });
  }
}

}  // namespace
}  // namespace mixprec::test
