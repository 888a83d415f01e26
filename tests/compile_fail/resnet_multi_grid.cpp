// SPDX-License-Identifier: Apache-2.0
// 0 in one place does not mean that this block keeps the stride's dilation.
// expect-error: mixprec: ResNet: multi_grid has some dilations below 1. Give three of at least 1, or none.
#include <mixprec/models/resnet.hpp>

#ifdef MIXPREC_CONTROL
constexpr mixprec::models::ResNetOptions options{.output_stride = 16, .multi_grid = {1, 2, 4}};
#else
constexpr mixprec::models::ResNetOptions options{.output_stride = 16, .multi_grid = {0, 2, 4}};
#endif

mixprec::models::ResNetBackbone<50, options> net;
