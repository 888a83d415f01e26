// SPDX-License-Identifier: Apache-2.0
// Matrix products: oneDNN's for float and bfloat16 where it is built in, the blocked reference otherwise.
#pragma once

#include <mixprec/backend/cpu/capability.hpp>
#include <mixprec/backend/cpu/gemm.hpp>
#if MIXPREC_USES_ONEDNN()
#include <mixprec/backend/cpu/onednn.hpp>
#endif

namespace mixprec::inline MIXPREC_ABI::cpu {

namespace detail {
/// The reference product; `bias` may be null.
template <class T, class Bias, class Y>
void reference_matmul(Stream& stream, bool trans_a, bool trans_b, std::int64_t m, std::int64_t n, std::int64_t k,
                      T const* a, T const* b, Bias const* bias, Y* y) {
  using Acc = accumulator_t<T>;
  gemm<Acc>(
      stream, m, n, k,
      [=](std::int64_t i, std::int64_t k0, std::int64_t count, Acc* out) {
        trans_a ? widen(a + k0 * m + i, m, count, out) : widen(a + i * k + k0, 1, count, out);
      },
      [=](std::int64_t kk, std::int64_t j0, std::int64_t count, Acc* out) {
        trans_b ? widen(b + j0 * k + kk, k, count, out) : widen(b + kk * n + j0, 1, count, out);
      },
      [=](std::int64_t i, std::int64_t j0, std::int64_t count, Acc const* sums) {
        Y* const to = y + i * n + j0;
        for (std::int64_t j = 0; j < count; ++j) {
          to[j] = convert<Y>(bias == nullptr ? sums[j] : sums[j] + convert<Acc>(bias[j0 + j]));
        }
      });
}
}  // namespace detail

/// y = op(a) * op(b) + bias, with op the transpose where trans_a or trans_b; one rounding.
/// Shapes: y (m, n); a (m, k), or (k, m) if trans_a; b (k, n), or (n, k) if trans_b; bias (n).
/// Precision: products and sums in the accumulator type of T.
/// Errors: oneDNN's failures, with the extents.
template <floating_dtype T, floating_dtype Bias, floating_dtype Y>
void matmul_bias(Stream& stream, bool trans_a, bool trans_b, std::int64_t m, std::int64_t n, std::int64_t k, T const* a,
                 T const* b, Bias const* bias, Y* y) {
#if MIXPREC_USES_ONEDNN()
  if constexpr (onednn::has_matmul<T, Bias, Y>) {
    if (m > 0 && n > 0 && k > 0) {
      onednn::matmul(stream, trans_a, trans_b, m, n, k, a, b, bias, y);
      return;
    }
  }
#endif
  detail::reference_matmul(stream, trans_a, trans_b, m, n, k, a, b, bias, y);
}

/// matmul_bias without bias.
template <floating_dtype T, floating_dtype Y>
void matmul(Stream& stream, bool trans_a, bool trans_b, std::int64_t m, std::int64_t n, std::int64_t k, T const* a,
            T const* b, Y* y) {
  matmul_bias(stream, trans_a, trans_b, m, n, k, a, b, static_cast<float const*>(nullptr), y);
}

}  // namespace mixprec::inline MIXPREC_ABI::cpu
