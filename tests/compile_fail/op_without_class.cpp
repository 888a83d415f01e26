// SPDX-License-Identifier: Apache-2.0
// An op that does not say which precision class it has: nothing is assumed to be safe in half.
// expect-error: mixprec: this op has no precision class. Declare one in its struct
#include <mixprec/policy/resolve.hpp>

struct Gelu {
#ifdef MIXPREC_CONTROL
  using precision = mixprec::Fp32Op;
#endif
};

static_assert(mixprec::resolve<mixprec::Amp<>, Gelu>(mixprec::DType::float16).operand == mixprec::DType::float32);
