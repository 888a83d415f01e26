// SPDX-License-Identifier: Apache-2.0
// Gradients in double for weights that are updated in float: the update would round them first.
// expect-error: mixprec: optimizer: gradients are wider than the update's arithmetic. Use double master weights.
#include <mixprec/backend/optimizer_math.hpp>

using namespace mixprec;

#ifdef MIXPREC_CONTROL
using Master = double;
#else
using Master = float;
#endif

void update(Segment<Master, double, float> const& segment) { check_segment(segment); }
