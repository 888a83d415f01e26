// SPDX-License-Identifier: Apache-2.0
// Rounding a float to a 16-bit type must be visible in the source.
// expect-error: float16
#include <mixprec/dtype/float16.hpp>

#ifdef MIXPREC_CONTROL
mixprec::float16 rounded(float value) { return mixprec::float16(value); }
#else
mixprec::float16 rounded(float value) { return value; }
#endif
