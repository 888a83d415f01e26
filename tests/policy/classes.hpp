// SPDX-License-Identifier: Apache-2.0
// One op of each precision class, and a way to write down what resolution must give.
#pragma once

#include <mixprec/policy/resolve.hpp>

namespace mixprec_test {

using mixprec::DType;
using mixprec::Precision;

inline constexpr DType f64 = DType::float64, f32 = DType::float32, f16 = DType::float16, bf16 = DType::bfloat16;

struct LowOp {
  using precision = mixprec::Fp16Op;
};
struct FullOp {
  using precision = mixprec::Fp32Op;
};
/// As layer_norm or resize: in float, but Amp stores the operand's dtype.
struct FullStoringOp {
  using precision = mixprec::Fp32Op;
  static constexpr bool stores_operand = true;
};
struct PromotingOp {
  using precision = mixprec::PromoteOp;
};
struct FollowingOp {
  using precision = mixprec::FollowOp;
};

/// The result of an op of the low class: operands, arithmetic and result in one dtype, sums in its accumulator.
constexpr Precision low(DType dtype, DType accumulator) { return {dtype, dtype, accumulator, dtype, dtype}; }
/// Of every other class: what is read, what is computed and summed in, what is stored.
constexpr Precision reads(DType operand, DType arithmetic, DType result) {
  return {operand, arithmetic, arithmetic, result, result};
}

/// The rows of a table: widest operand float16, bfloat16, float32, float64.
inline constexpr DType widest[] = {f16, bf16, f32, f64};

template <class Policy, class Op>
constexpr bool resolves(Precision of_float16, Precision of_bfloat16, Precision of_float32, Precision of_float64) {
  Precision const expected[] = {of_float16, of_bfloat16, of_float32, of_float64};
  for (int row = 0; row < 4; ++row)
    if (!(mixprec::resolve<Policy, Op>(widest[row]) == expected[row])) return false;
  return true;
}

}  // namespace mixprec_test
