// SPDX-License-Identifier: Apache-2.0
// No group at all: said before anything is divided by it.
// expect-error: mixprec: Conv2d: the groups are fewer than 1.
#include <mixprec/nn/layers.hpp>

#ifdef MIXPREC_CONTROL
constexpr mixprec::nn::Conv2dOptions options{.groups = 1};
#else
constexpr mixprec::nn::Conv2dOptions options{.groups = 0};
#endif

mixprec::nn::Conv2d<6, 4, 3, options> layer;
