// SPDX-License-Identifier: Apache-2.0
// Integer tensors hold labels and indices; they take no part in conversions between floating types.
// expect-error: convert
#include <cstdint>

#include <mixprec/dtype/dtype.hpp>

#ifdef MIXPREC_CONTROL
float const source = 3.0f;
#else
std::int32_t const source = 3;
#endif

mixprec::bfloat16 converted() { return mixprec::convert<mixprec::bfloat16>(source); }
