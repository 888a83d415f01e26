// SPDX-License-Identifier: Apache-2.0
// What this CPU and build are good at, so that programs can say why mixed precision is or is not faster.
#pragma once

#include <mixprec/config.hpp>
#if MIXPREC_HAS_ONEDNN()
#include <dnnl_config.h>
#include <dnnl_version.h>
#endif

// 2.x and 3.x, where the CPU runs on plain threads (OpenMP; also one thread, or TBB). Builds of oneDNN on SYCL, on a
// caller's thread pool or without a CPU need more than a pointer: with them the reference kernels do the work.
// cmake/MixprecComponents.cmake has the same rule, and prints what it means.
#if MIXPREC_HAS_ONEDNN() && (DNNL_VERSION_MAJOR == 2 || DNNL_VERSION_MAJOR == 3) &&  \
    (DNNL_CPU_RUNTIME == DNNL_RUNTIME_OMP || DNNL_CPU_RUNTIME == DNNL_RUNTIME_SEQ || \
     DNNL_CPU_RUNTIME == DNNL_RUNTIME_TBB)
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
