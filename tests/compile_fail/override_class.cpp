// SPDX-License-Identifier: Apache-2.0
// An override whose op and class have changed places would change nothing.
// expect-error: mixprec: Run: its second argument is no class of precision. Write the op first, then Fp16Op, Fp32Op,
#include <mixprec/ops/softmax.hpp>
#include <mixprec/policy/policy.hpp>

namespace mp = mixprec;
#ifdef MIXPREC_CONTROL
using Policy = mp::With<mp::Amp<mp::bfloat16>, mp::Run<mp::ops::Softmax, mp::Fp32Op>>;
#else
using Policy = mp::With<mp::Amp<mp::bfloat16>, mp::Run<mp::Fp32Op, mp::ops::Softmax>>;
#endif

static_assert(Policy::class_of<mp::ops::Softmax> == mp::OpClass::full);
