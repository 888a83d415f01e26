// SPDX-License-Identifier: Apache-2.0
// Build-wide facts: version, compiler features, and the inline namespace that keeps different builds apart.
#pragma once

#define MIXPREC_VERSION_MAJOR 0
#define MIXPREC_VERSION_MINOR 1
#define MIXPREC_VERSION_PATCH 0

// Function-like, so that a misspelt name is an error and not a silent 0.
// nvcc 13.0 ends with an internal error in dnnl.hpp, so code that it compiles takes the CPU's reference kernels.
#if defined(MIXPREC_WITH_ONEDNN) && !defined(__CUDACC__)
#define MIXPREC_HAS_ONEDNN() 1
#else
#define MIXPREC_HAS_ONEDNN() 0
#endif

#ifdef __CUDACC__
#define MIXPREC_HAS_CUDA() 1
#define MIXPREC_HD __host__ __device__
#else
#define MIXPREC_HAS_CUDA() 0
#define MIXPREC_HD
#endif

#ifdef _OPENMP
#define MIXPREC_HAS_OPENMP() 1
#else
#define MIXPREC_HAS_OPENMP() 0
#endif

// Two translation units built with different components must not share inline functions: the linker would keep
// one of the two at random. The components are therefore part of every mangled name.
#define MIXPREC_DETAIL_PASTE(a, b, c, d) a##b##c##d
#define MIXPREC_DETAIL_ABI(onednn, omp, cuda) MIXPREC_DETAIL_PASTE(v0_, onednn, omp, cuda)
#if MIXPREC_HAS_ONEDNN()
#define MIXPREC_DETAIL_ABI_ONEDNN d
#else
#define MIXPREC_DETAIL_ABI_ONEDNN r
#endif
#if MIXPREC_HAS_OPENMP()
#define MIXPREC_DETAIL_ABI_OPENMP p
#else
#define MIXPREC_DETAIL_ABI_OPENMP s
#endif
#if MIXPREC_HAS_CUDA()
#define MIXPREC_DETAIL_ABI_CUDA c
#else
#define MIXPREC_DETAIL_ABI_CUDA h
#endif
#define MIXPREC_ABI MIXPREC_DETAIL_ABI(MIXPREC_DETAIL_ABI_ONEDNN, MIXPREC_DETAIL_ABI_OPENMP, MIXPREC_DETAIL_ABI_CUDA)

namespace mixprec::inline MIXPREC_ABI {}
