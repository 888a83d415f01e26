// SPDX-License-Identifier: Apache-2.0
// Scores of a sequence, (N,T,V): argmax would have to know which axis the classes are on.
// expect-error: mixprec: argmax: needs scores of shape (N,V) or (N,V,H,W). Reshape the operand.
#include <utility>

#include <mixprec/ops/argmax.hpp>

using namespace mixprec;

#ifdef MIXPREC_CONTROL
constexpr int rank = 4;
#else
constexpr int rank = 3;
#endif

using Scores = Value<Meta, float, rank, dynamic_channels, Fp32>;
using Classes = decltype(argmax(std::declval<Scores const&>()));
