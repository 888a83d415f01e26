// SPDX-License-Identifier: Apache-2.0
// Matrix products on CUDA: cuBLASLt with its bias epilogue, and plain kernels where it has no algorithm.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include <mixprec/backend/cuda/check.hpp>
#include <mixprec/backend/cuda/cublaslt.hpp>
#include <mixprec/backend/cuda/stream.hpp>
#include <mixprec/dtype/dtype.hpp>
#if MIXPREC_HAS_CUDA()
#include <mixprec/backend/cuda/direct.cuh>

namespace mixprec::inline MIXPREC_ABI::cuda {

namespace detail {

template <class T, class Y>
void run_matmul(Stream& stream, bool trans_a, bool trans_b, std::int64_t m, std::int64_t n, std::int64_t k, T const* a,
                T const* b, Y* y, Store sum) {
  if (m == 0 || n == 0 || (k == 0 && sum == Store::add)) return;
  if (k == 0) {
    check(cudaMemsetAsync(y, 0, static_cast<std::size_t>(m * n) * sizeof(Y), stream.handle()), "cudaMemsetAsync");
    return;
  }
  MatrixProduct const product{trans_a, trans_b, m, n, k, dtype_of_v<T>, dtype_of_v<Y>, a, b, nullptr, y, sum};
  if (!stream.attached<CublasLt>().run(product)) {
    direct_matmul(stream, trans_a, trans_b, m, n, k, a, b, y, sum == Store::add);
  }
}

}  // namespace detail

/// y(m,n) = op(a)(m,k) * op(b)(k,n), row-major; a is stored (k,m) where trans_a, b is stored (n,k) where trans_b.
/// Precision: operands T, accumulator float, one rounding to Y, which is T or float. A float T keeps all its bits
/// unless Stream::set_allow_tf32. Errors: Error naming the call and the sizes.
template <floating_dtype T, floating_dtype Y>
void matmul(Stream& stream, bool trans_a, bool trans_b, std::int64_t m, std::int64_t n, std::int64_t k, T const* a,
            T const* b, Y* y) {
  static_assert(!std::is_same_v<T, double>, "mixprec: cuda::matmul takes float, float16 or bfloat16");
  static_assert(std::is_same_v<Y, T> || std::is_same_v<Y, float>,
                "mixprec: cuda::matmul writes its operands' type or float");
  detail::run_matmul(stream, trans_a, trans_b, m, n, k, a, b, y, Store::overwrite);
}

/// The same in float, and added to what y holds where `sum` says so. There is no such product with narrower types:
/// cuBLASLt may round it before it adds.
inline void matmul(Stream& stream, bool trans_a, bool trans_b, std::int64_t m, std::int64_t n, std::int64_t k,
                   float const* a, float const* b, float* y, Store sum) {
  detail::run_matmul(stream, trans_a, trans_b, m, n, k, a, b, y, sum);
}

/// As matmul, plus bias(n) in every row, before the one rounding.
template <floating_dtype T, floating_dtype Bias, floating_dtype Y>
void matmul_bias(Stream& stream, bool trans_a, bool trans_b, std::int64_t m, std::int64_t n, std::int64_t k, T const* a,
                 T const* b, Bias const* bias, Y* y) {
  static_assert(!std::is_same_v<T, double> && !std::is_same_v<Bias, double>,
                "mixprec: cuda::matmul_bias takes float, float16 or bfloat16");
  static_assert(std::is_same_v<Y, T> || std::is_same_v<Y, float>,
                "mixprec: cuda::matmul_bias writes its operands' type or float");
  if (m == 0 || n == 0) return;
  // cuBLASLt's epilogue takes a bias of the result's dtype. A narrower one is widened exactly. With bfloat16 results
  // the epilogue rounds twice, before and after the bias (seen with cuBLASLt 13.1 on an H200): not used there.
  void const* fused = nullptr;
  if constexpr (std::is_same_v<Bias, Y> && !std::is_same_v<Y, bfloat16>) {
    fused = bias;
  } else if constexpr (std::is_same_v<Y, float>) {
    auto* const wide = static_cast<float*>(stream.scratch(static_cast<std::size_t>(n) * sizeof(float)));
    detail::widen(stream, n, bias, wide);
    fused = wide;
  }
  detail::MatrixProduct const product{trans_a, trans_b, m, n, k, dtype_of_v<T>, dtype_of_v<Y>, a, b, fused, y};
  if (k > 0 && fused != nullptr && detail::alignment_of(fused) >= 16 &&
      stream.attached<detail::CublasLt>().run(product)) {
    return;
  }
  // Otherwise the product stays in float until the bias has been added, so that the result is still rounded once.
  if constexpr (std::is_same_v<Y, float>) {
    matmul(stream, trans_a, trans_b, m, n, k, a, b, y);
    detail::add_bias(stream, m, n, y, bias, y);
  } else {
    auto* const product_in_float = static_cast<float*>(stream.scratch(static_cast<std::size_t>(m * n) * sizeof(float)));
    matmul(stream, trans_a, trans_b, m, n, k, a, b, product_in_float);
    detail::add_bias(stream, m, n, product_in_float, bias, y);
  }
}

}  // namespace mixprec::inline MIXPREC_ABI::cuda

#endif
