// SPDX-License-Identifier: Apache-2.0
// The oldest GPUs that the CUDA backend is compiled for: 8.0 has bfloat16, asynchronous copies and the matrix
// instructions of warp_mma.cuh. Included by everything that has device code.
#pragma once

#include <mixprec/config.hpp>

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
#error mixprec: the CUDA backend needs compute capability 8.0 or newer. Compile for 80 or above, e.g. -arch=sm_80.
#endif

namespace mixprec::inline MIXPREC_ABI::cuda {

/// As Stream::compute_capability() gives it: 80 for 8.0.
inline constexpr int minimum_compute_capability = 80;

}  // namespace mixprec::inline MIXPREC_ABI::cuda
