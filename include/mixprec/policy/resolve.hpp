// SPDX-License-Identifier: Apache-2.0
// Resolution: from (policy, op, operand dtypes) to the dtypes of everything the op touches, at compile time.
#pragma once

#include <mixprec/policy/policy.hpp>

namespace mixprec::inline MIXPREC_ABI {

/// The dtypes of one op.
struct Precision {
  DType operand;      // what every data operand is read as; a different stored dtype is a cast
  DType arithmetic;   // what products and functions are computed in
  DType accumulator;  // what sums are kept in
  DType result;       // what is stored
  DType gradient;     // what the gradient of the result arrives in
  constexpr bool operator==(Precision const&) const = default;
};

/// Resolves `Op` under `Policy` for data operands whose widest dtype is `widest`; parameters do not take part.
///
///   low:      operand = policy.low;           arithmetic = operand;  result = operand
///   full:     operand = float;                arithmetic = float;    result = float, or the operand's own dtype where
///             policy and op both say stores_operand
///   promote:  operand = widest (MMCV: low);   arithmetic = float;    result = operand
///   follow:   operand = widest;               arithmetic = float;    result = operand
///
/// Sums are float always. float64 is never narrowed and turns every float above into float64 (PyTorch: float64 is not
/// eligible for autocast). Errors: an op without a class does not compile.
template <class Policy, class Op>
constexpr Precision resolve(DType widest) {
  static_assert(classified_op<Op>,
                "mixprec: this op has no precision class. Declare one in its struct: `using precision = Fp32Op;` "
                "(or Fp16Op, PromoteOp, FollowOp).");
  if constexpr (classified_op<Op>) {
    DType const stored = Policy::floor == DType::float32 ? promote(widest, DType::float32) : widest;
    DType const full = accumulator_of(stored);
    DType const low = widest == DType::float64 ? widest : Policy::low;
    OpClass const op_class = Policy::template class_of<Op>;
    if (op_class == OpClass::low) return {low, low, accumulator_of(low), low, low};
    if (op_class == OpClass::full) {
      DType const result = Policy::stores_operand && requires { requires Op::stores_operand; }
      ? stored : full;
      return {full, full, full, result, result};
    }
    DType const operand = op_class == OpClass::promote && Policy::promotes_low ? low : stored;
    return {operand, accumulator_of(operand), accumulator_of(operand), operand, operand};
  } else {
    return {};
  }
}

}  // namespace mixprec::inline MIXPREC_ABI
