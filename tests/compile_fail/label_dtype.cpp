// SPDX-License-Identifier: Apache-2.0
// Labels of another dtype than int32 are refused with what to do about them.
// expect-error: mixprec: cross_entropy: labels are int32.
#include <mixprec/nn/containers.hpp>
#include <mixprec/ops/loss.hpp>

using namespace mixprec;

#ifdef MIXPREC_CONTROL
using Label = std::int32_t;
#else
using Label = std::int64_t;
#endif

using Logits = Value<Meta, float, 2, dynamic_channels, Fp32>;
using L = decltype(cross_entropy(std::declval<Logits const&>(), std::declval<Tensor<Meta, Label, 1> const&>()));
