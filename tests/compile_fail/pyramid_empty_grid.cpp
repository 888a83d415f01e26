// SPDX-License-Identifier: Apache-2.0
// A grid without bins.
// expect-error: mixprec: Pyramid: a grid has at least one row and column.
#include <mixprec/ops/pyramid_pool.hpp>

#ifdef MIXPREC_CONTROL
mixprec::Pyramid<1, 2> pyramid;
#else
mixprec::Pyramid<0, 2> pyramid;
#endif
