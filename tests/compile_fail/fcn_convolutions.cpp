// SPDX-License-Identifier: Apache-2.0
// mmsegmentation's head can do without a convolution, this one cannot.
// expect-error: mixprec: FcnHead has 1 or 2 convolutions. Choose one of these.
#include <mixprec/models/fcn.hpp>

#ifdef MIXPREC_CONTROL
mixprec::models::FcnHead<8, 4, 3, 1> head;
#else
mixprec::models::FcnHead<8, 4, 3, 0> head;
#endif
