// SPDX-License-Identifier: Apache-2.0
// A depth that has no table of blocks.
// expect-error: mixprec: ResNet: the depth is 18, 34, 50, 101 or 152. Choose one of these.
#include <mixprec/models/resnet.hpp>

#ifdef MIXPREC_CONTROL
mixprec::models::ResNet<18> net;
#else
mixprec::models::ResNet<20> net;
#endif
