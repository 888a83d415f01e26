// SPDX-License-Identifier: Apache-2.0
// What this CPU and build are good at, so that programs can say why mixed precision is or is not faster.
#pragma once

#include <mixprec/config.hpp>
#if MIXPREC_HAS_ONEDNN()
#include <dnnl_version.h>
#endif

// oneDNN 3.x builds primitives in another way, which no test has run yet: with it the reference kernels do the work.
#if MIXPREC_HAS_ONEDNN() && DNNL_VERSION_MAJOR == 2
#include <dnnl.h>
#define MIXPREC_USES_ONEDNN() 1
#else
#define MIXPREC_USES_ONEDNN() 0
#endif

namespace mixprec::inline MIXPREC_ABI::cpu {

/// True where convolution and matmul in bfloat16 run on AMX. Otherwise they are widened to float, which is not faster
/// than float. ONEDNN_MAX_CPU_ISA is respected.
inline bool bfloat16_is_fast() {
#if MIXPREC_USES_ONEDNN()
  // The values of dnnl_cpu_isa_t are sets of bits: one instruction set contains another where its bits do.
  auto const available = static_cast<unsigned>(dnnl_get_effective_cpu_isa());
  auto const needed = static_cast<unsigned>(dnnl_cpu_isa_avx512_core_amx);
  return (available & needed) == needed;
#else
  return false;
#endif
}

}  // namespace mixprec::inline MIXPREC_ABI::cpu
