// SPDX-License-Identifier: Apache-2.0
// One row more than the grids may have together.
// expect-error: mixprec: Pyramid: the grids have more than 32 rows together.
#include <mixprec/ops/pyramid_pool.hpp>

#ifdef MIXPREC_CONTROL
mixprec::Pyramid<16, 16> pyramid;
#else
mixprec::Pyramid<16, 17> pyramid;
#endif
