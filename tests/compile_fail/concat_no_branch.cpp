// SPDX-License-Identifier: Apache-2.0
// A Concat without a branch has no result.
// expect-error: mixprec: Concat: it has no branch. Name at least one module.
#include <mixprec/nn/branches.hpp>

#ifdef MIXPREC_CONTROL
mixprec::nn::Concat<mixprec::nn::Identity> layer;
#else
mixprec::nn::Concat<> layer;
#endif
