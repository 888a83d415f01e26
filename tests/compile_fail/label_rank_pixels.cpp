// SPDX-License-Identifier: Apache-2.0
// The other way round than label_rank.cpp: one label a pixel for logits of whole images.
// expect-error: mixprec: cross_entropy: labels of shape (N,H,W) need logits of shape (N,V,H,W). For logits of shape
// (N,V), expect-error: give labels of shape (N).
#include <utility>

#include <mixprec/ops/loss.hpp>

using namespace mixprec;

#ifdef MIXPREC_CONTROL
constexpr int rank = 4;
#else
constexpr int rank = 2;
#endif

using Logits = Value<Meta, float, rank, dynamic_channels, Fp32>;
using Labels = Tensor<Meta, std::int32_t, 3>;
using L = decltype(cross_entropy(std::declval<Logits const&>(), std::declval<Labels const&>()));
