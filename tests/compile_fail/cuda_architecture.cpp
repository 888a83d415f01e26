// SPDX-License-Identifier: Apache-2.0
// Device code for a GPU below compute capability 8.0. The macro is nvcc's, set here so that every compiler can see it.
// expect-error: mixprec: the CUDA backend needs compute capability 8.0 or newer.
#undef __CUDA_ARCH__
#ifdef MIXPREC_CONTROL
#define __CUDA_ARCH__ 800
#else
#define __CUDA_ARCH__ 750
#endif
#include <mixprec/backend/cuda/architecture.hpp>
