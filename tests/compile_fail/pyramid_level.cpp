// SPDX-License-Identifier: Apache-2.0
// Grids count from 0: the last one's number is one less than their count.
// expect-error: mixprec: Pyramid: level: it has no grid of this number. Count its grids from 0.
#include <utility>

#include <mixprec/ops/pyramid_pool.hpp>

using namespace mixprec;

#ifdef MIXPREC_CONTROL
constexpr int level = 1;
#else
constexpr int level = 2;
#endif

using Bins = Value<Meta, float, 4, dynamic_channels, Fp32>;
using Grid = decltype(Pyramid<1, 2>::level<level>(std::declval<Bins const&>()));
