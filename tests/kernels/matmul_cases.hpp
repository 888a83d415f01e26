// SPDX-License-Identifier: Apache-2.0
// Cases for backend/*/matmul.
#include "harness.hpp"

namespace mixprec::test {
namespace {

struct Product {
  std::int64_t m, n, k;
};
inline std::vector<Product> products() {
  return {{1, 1, 1}, {3, 17, 5}, {65, 33, 257}, {130, 10, 1025}, {7, 129, 64}, {10, 3, 9000}};
}

MIXPREC_KERNEL_TEST("matmul and matmul_bias match the definition for every transposition and odd extents") {
  for (Product const shape : products()) {
    for (int const mode : {0, 1, 2, 3}) {
      bool const trans_a = (mode & 1) != 0, trans_b = (mode & 2) != 0;
      for_each_dtype<TestBackend>([&]<class T>() {
        auto const [m, n, k] = shape;
        auto const left = normal_values<T>(m * k, 40), right = normal_values<T>(k * n, 41);
        auto const offsets = normal_values<T>(n, 42);
        Buffer<TestBackend, T> a(stream, left), b(stream, right), bias(stream, offsets), y(stream, m * n);
        Buffer<TestBackend, T> with_bias(stream, m * n);
        Buffer<TestBackend, accumulator_t<T>> wide(stream, m * n);
        T const *pa = a, *pb = b;
        matmul(stream, trans_a, trans_b, m, n, k, pa, pb, y.get());
        matmul(stream, trans_a, trans_b, m, n, k, pa, pb, wide.get());
        matmul_bias(stream, trans_a, trans_b, m, n, k, pa, pb, static_cast<T const*>(bias), with_bias.get());
        std::vector<Expected> plain, added;
        for (std::int64_t i = 0; i < m; ++i) {
          for (std::int64_t j = 0; j < n; ++j) {
            double total = 0, size = 0;
            for (std::int64_t kk = 0; kk < k; ++kk) {
              double const term =
                  at(left, trans_a ? kk * m + i : i * k + kk) * at(right, trans_b ? j * k + kk : kk * n + j);
              total += term;
              size += std::abs(term);
            }
            double const error = sum_error<T>(k) * size;
            plain.push_back({total, error});
            added.push_back({total + at(offsets, j), error + 2 * arithmetic<T> * (std::abs(total) + 4)});
          }
        }
        check_close(y.read(), plain);
        check_close(wide.read(), plain);
        check_close(with_bias.read(), added);
      });
    }
  }
}

}  // namespace
}  // namespace mixprec::test
