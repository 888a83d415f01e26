// SPDX-License-Identifier: Apache-2.0
// The cases of matmul_cases.hpp on CUDA.
#include <mixprec/cuda.hpp>

#include "harness.hpp"

MIXPREC_TEST_BACKENDS(mixprec::Cuda)

#include "matmul_cases.hpp"

namespace mixprec::test {
namespace {

MIXPREC_KERNEL_TEST("matmul in float adds to what the result holds where it is told to, as does the kernel behind it") {
  for (auto const& [m, n, k] : {Product{3, 17, 5}, Product{65, 33, 257}, Product{64, 32, 128}, Product{4, 5, 0}}) {
    INFO(m << " x " << n << " x " << k);
    auto const left = normal_values<float>(m * k, 43), right = normal_values<float>(k * n, 44);
    auto const held = normal_values<float>(m * n, 45);
    Buffer<TestBackend, float> a(stream, left), b(stream, right), y(stream, held), direct(stream, held);
    float const *pa = a, *pb = b;
    matmul(stream, false, true, m, n, k, pa, pb, y.get(), cuda::Store::add);
    cuda::detail::direct_matmul(stream, false, true, m, n, k, pa, pb, direct.get(), true);
    std::vector<Expected> sums;
    for (std::int64_t i = 0; i < m; ++i) {
      for (std::int64_t j = 0; j < n; ++j) {
        double total = at(held, i * n + j), size = std::abs(total);
        for (std::int64_t kk = 0; kk < k; ++kk) {
          double const term = at(left, i * k + kk) * at(right, j * k + kk);
          total += term;
          size += std::abs(term);
        }
        sums.push_back({total, sum_error<float>(k + 1) * size});
      }
    }
    check_close(y.read(), sums);
    check_close(direct.read(), sums);
  }
}

}  // namespace
}  // namespace mixprec::test
