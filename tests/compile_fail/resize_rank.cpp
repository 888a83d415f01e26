// SPDX-License-Identifier: Apache-2.0
// Only images are resized, not the features that Flatten or a pool to (N,C) left of them.
// expect-error: mixprec: resize: needs images of shape (N,C,H,W). Reshape the operand.
#include <utility>

#include <mixprec/ops/resize.hpp>

using namespace mixprec;

#ifdef MIXPREC_CONTROL
constexpr int rank = 4;
#else
constexpr int rank = 2;
#endif

using X = Value<Meta, float, rank, dynamic_channels, Fp32>;
using Y = decltype(resize(std::declval<X const&>(), {8, 8}));
