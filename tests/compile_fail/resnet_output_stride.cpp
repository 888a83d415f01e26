// SPDX-License-Identifier: Apache-2.0
// 64 is what a user writes who wants another stage of stride 2.
// expect-error: mixprec: ResNet: the output stride is 8, 16 or 32. Choose one of these.
#include <mixprec/models/resnet.hpp>

#ifdef MIXPREC_CONTROL
constexpr mixprec::models::ResNetOptions options{.output_stride = 16};
#else
constexpr mixprec::models::ResNetOptions options{.output_stride = 64};
#endif

mixprec::models::ResNetBackbone<18, options> net;
