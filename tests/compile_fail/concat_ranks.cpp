// SPDX-License-Identifier: Apache-2.0
// Features beside images: they have no common extents but the batch.
// expect-error: mixprec: concat: the values must all be (N,C) or all be (N,C,H,W).
#include <utility>

#include <mixprec/ops/concat.hpp>

using namespace mixprec;

#ifdef MIXPREC_CONTROL
constexpr int rank = 4;
#else
constexpr int rank = 2;
#endif

using Images = Value<Meta, float, 4, 8, Fp32>;
using Features = Value<Meta, float, rank, 8, Fp32>;
using Y = decltype(concat(std::declval<Images const&>(), std::declval<Features const&>()));
