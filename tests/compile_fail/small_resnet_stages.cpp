// SPDX-License-Identifier: Apache-2.0
// A fourth stage, which only ResNet has.
// expect-error: mixprec: SmallResNet has 1, 2 or 3 stages. Choose one of these.
#include <mixprec/models/small_resnet.hpp>

#ifdef MIXPREC_CONTROL
mixprec::models::SmallResNet<8, 1, 10, 1, 3> net;
#else
mixprec::models::SmallResNet<8, 1, 10, 1, 4> net;
#endif
