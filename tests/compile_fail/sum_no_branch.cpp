// SPDX-License-Identifier: Apache-2.0
// A Sum without a branch has no result.
// expect-error: mixprec: Sum: it has no branch. Name at least one module.
#include <mixprec/nn/branches.hpp>

#ifdef MIXPREC_CONTROL
mixprec::nn::Sum<mixprec::nn::Identity> layer;
#else
mixprec::nn::Sum<> layer;
#endif
