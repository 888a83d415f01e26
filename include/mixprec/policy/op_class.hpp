// SPDX-License-Identifier: Apache-2.0
// The four precision classes an op can declare. The class fixes the arithmetic; what is stored is a second column.
#pragma once

#include <cstdint>

#include <mixprec/config.hpp>

namespace mixprec::inline MIXPREC_ABI {

enum class OpClass : std::uint8_t { low, full, promote, follow };

/// Runs in the policy's low-precision dtype (float16, but also bfloat16): matmul, convolution. Sums are float.
struct Fp16Op {
  static constexpr OpClass op_class = OpClass::low;
};
/// Runs in float whatever it is given: softmax, losses, sums.
struct Fp32Op {
  static constexpr OpClass op_class = OpClass::full;
};
/// Runs in the widest dtype among its operands: add, mul.
struct PromoteOp {
  static constexpr OpClass op_class = OpClass::promote;
};
/// Keeps its operand's dtype: relu, pooling, batch norm's data path. PyTorch has the class without a name: every op
/// that is on none of autocast's lists.
struct FollowOp {
  static constexpr OpClass op_class = OpClass::follow;
};

/// An op that declares its class by `using precision = ...`.
template <class Op>
concept classified_op = requires {
  Op::precision::op_class;
};

}  // namespace mixprec::inline MIXPREC_ABI
