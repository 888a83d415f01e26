// SPDX-License-Identifier: Apache-2.0
// Fp64 on a backend without kernels for it, as Cuda is: the first error says so, and what to take.
// expect-error: mixprec: Model: this backend has no kernels for float64. Use Fp32, or Fp64 on the Cpu.
#include <mixprec/cpu.hpp>
#include <mixprec/mixprec.hpp>

struct FloatOnly : mixprec::Cpu {
  static constexpr bool computes_float64 = false;
};
#ifdef MIXPREC_CONTROL
using Backend = mixprec::Cpu;
#else
using Backend = FloatOnly;
#endif

using Net = mixprec::nn::Sequential<mixprec::nn::Linear<2, 2>>;

void use() { mixprec::Model<Net, mixprec::Fp64, Backend> net{1}; }
