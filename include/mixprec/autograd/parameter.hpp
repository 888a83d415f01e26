// SPDX-License-Identifier: Apache-2.0
// Handles that modules hold: a parameter or buffer is an index and a shape; its memory belongs to the session.
#pragma once

#include <cstdint>

#include <mixprec/error.hpp>
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

namespace detail {

// Not constexpr: a plan that comes here stops, and the compiler's error shows the function's name.
template <int Rank>
[[noreturn]] void list_every_module_and_parameter_in_MIXPREC_MODULE(Parameter<Rank> const& parameter) {
  throw Error("a parameter of shape " + to_string(parameter.shape) +
              " is no part of the model: it, or the module that holds it, is missing from MIXPREC_MODULE(...). List "
              "every member there.");
}
/// Errors: Error for a parameter that the model's walk over its members has not met.
template <int Rank>
constexpr void require_listed(Parameter<Rank> const& parameter) {
  if (parameter.id < 0) list_every_module_and_parameter_in_MIXPREC_MODULE(parameter);
}

}  // namespace detail

/// Where a gradient goes: nowhere, to a value of the tape, or to a parameter.
struct GradientSlot {
  enum class Kind : std::uint8_t { none, value, parameter };
  Kind kind = Kind::none;
  int index = -1;
  std::uint64_t tape = 0;  // of a value: the number of the tape that it is on
  constexpr bool needed() const { return kind != Kind::none; }
};

}  // namespace mixprec::inline MIXPREC_ABI
