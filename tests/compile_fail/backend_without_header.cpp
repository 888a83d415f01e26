// SPDX-License-Identifier: Apache-2.0
// A backend whose header was not included: the first error says which header to include.
// expect-error: mixprec: Model: the backend is not defined.
// expect-error: Include <mixprec/cpu.hpp> for Cpu, <mixprec/cuda.hpp> for Cuda.
#include <mixprec/mixprec.hpp>
#ifdef MIXPREC_CONTROL
#include <mixprec/cpu.hpp>
#endif

using Net = mixprec::nn::Sequential<mixprec::nn::Linear<2, 2>>;

void use() { mixprec::Model<Net, mixprec::Fp32, mixprec::Cpu> net{1}; }
