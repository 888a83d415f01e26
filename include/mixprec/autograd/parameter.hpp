// SPDX-License-Identifier: Apache-2.0
// Handles that modules hold: a parameter or buffer is an index and a shape; its memory belongs to the session.
#pragma once

#include <cstdint>

#include <mixprec/policy/policy.hpp>
#include <mixprec/tensor/shape.hpp>

namespace mixprec::inline MIXPREC_ABI {

/// A trainable tensor of a module. Shape in logical order (weights OIHW); rank 4 is stored channels-last.
template <int Rank>
struct Parameter {
  Shape<Rank> shape{};
  ParameterKind kind = ParameterKind::weight;
  int id = -1;          // index in the session; assigned when the model is built
  bool frozen = false;  // no gradient
};

/// State of a module that is not trained: `size` values of the accumulator dtype.
struct Buffer {
  std::int64_t size = 0;
  double initial = 0;
  int id = -1;
};

/// Where a gradient goes: nowhere, to a value of the tape, or to a parameter.
struct GradientSlot {
  enum class Kind : std::uint8_t { none, value, parameter };
  Kind kind = Kind::none;
  int index = -1;
  std::uint64_t tape = 0;  // of a value: the number of the tape that it is on
  constexpr bool needed() const { return kind != Kind::none; }
};

}  // namespace mixprec::inline MIXPREC_ABI
