// SPDX-License-Identifier: Apache-2.0
// One line of a precision plan: what one op does. The compiler's trace and a recorded run both produce these rows.
#pragma once

#include <cstdint>

#include <mixprec/policy/resolve.hpp>
#include <mixprec/tensor/shape.hpp>

namespace mixprec::inline MIXPREC_ABI {

/// Where in the model an op stands. A module's own op has the module's path; a function called by user code (relu(x))
/// has the path of the module around the one that made its first operand, and the op's name.
struct Place {
  int module = -1;     // index into the module table; -1 is the model itself
  bool inside = true;  // functions called here belong to `module` itself, not to the module around it
  bool own = false;    // the op is the module's own
  constexpr bool operator==(Place const&) const = default;
};

/// One op of a forward pass.
struct PlanRow {
  Place place;
  char const* op = "";
  Precision precision{};
  int rank = 0;
  std::int64_t extents[4]{};       // of the result, logical order
  int folded_casts = 0;            // operands converted in registers, and parameters read from their working copy
  bool materialized_cast = false;  // the row is a cast that is launched
  double flops = 0;                // of the forward pass; a multiply-add counts two
  std::int64_t kept_bytes = 0;     // memory kept for backward that no earlier row kept
};

/// True where two rows say the same; op names are compared as text.
constexpr bool same_row(PlanRow const& a, PlanRow const& b) {
  char const *left = a.op, *right = b.op;
  while (*left != 0 && *left == *right) ++left, ++right;
  bool same = *left == *right && a.place == b.place && a.precision == b.precision && a.rank == b.rank &&
              a.folded_casts == b.folded_casts && a.materialized_cast == b.materialized_cast && a.flops == b.flops &&
              a.kept_bytes == b.kept_bytes;
  for (int axis = 0; axis < a.rank && axis < 4; ++axis) same = same && a.extents[axis] == b.extents[axis];
  return same;
}

}  // namespace mixprec::inline MIXPREC_ABI
