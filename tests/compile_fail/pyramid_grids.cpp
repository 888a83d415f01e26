// SPDX-License-Identifier: Apache-2.0
// One grid more than a pyramid takes.
// expect-error: mixprec: Pyramid: it has one to four grids.
#include <mixprec/ops/pyramid_pool.hpp>

#ifdef MIXPREC_CONTROL
mixprec::Pyramid<1, 2, 3, 6> pyramid;
#else
mixprec::Pyramid<1, 2, 3, 4, 6> pyramid;
#endif
