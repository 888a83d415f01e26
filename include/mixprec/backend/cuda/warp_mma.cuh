// SPDX-License-Identifier: Apache-2.0
// The tensor core instructions of compute capability 8.0 as functions: matrix fragments, asynchronous copies, barriers.
#pragma once

#include <cstdint>
#include <type_traits>

#include <mixprec/backend/cuda/architecture.hpp>
#include <mixprec/dtype/dtype.hpp>

namespace mixprec::inline MIXPREC_ABI::cuda::detail {

/// An address in shared memory as these instructions take it.
using SharedAddress = std::uint32_t;

__device__ inline SharedAddress shared_address(void const* p) {
  return static_cast<SharedAddress>(__cvta_generic_to_shared(p));
}

/// Four 8x8 matrices of 16-bit elements. Lane l gives the address of row l % 8 of matrix l / 8 (16 bytes); lane
/// (g = l / 4, t = l % 4) gets elements 2t and 2t + 1 of row g of each.
__device__ inline void load_matrices(std::uint32_t (&fragment)[4], SharedAddress row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(fragment[0]), "=r"(fragment[1]), "=r"(fragment[2]), "=r"(fragment[3])
               : "r"(row)
               : "memory");
}

/// As load_matrices, each matrix transposed: lane (g, t) gets column g of rows 2t and 2t + 1.
__device__ inline void load_matrices_transposed(std::uint32_t (&fragment)[4], SharedAddress row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(fragment[0]), "=r"(fragment[1]), "=r"(fragment[2]), "=r"(fragment[3])
               : "r"(row)
               : "memory");
}

/// d(16,8) += a(16,16) · b(16,8), sums in float. In lane (g, t): a = rows g, g+8, g, g+8 at columns 2t, 2t, 2t+8, 2t+8
/// (pairs); b0, b1 = column g at rows 2t, 2t+8 (pairs); d = row g at columns 2t, 2t+1, then row g+8.
template <class T>
__device__ void multiply_add(float (&d)[4], std::uint32_t const (&a)[4], std::uint32_t b0, std::uint32_t b1) {
  if constexpr (std::is_same_v<T, float16>) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  } else {
    static_assert(std::is_same_v<T, bfloat16>, "mixprec: multiply_add takes float16 or bfloat16");
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  }
}

/// Starts a copy of 16 bytes from global memory; writes zeros, and reads nothing, where `bytes` is 0 instead of 16.
__device__ inline void copy_async(SharedAddress to, void const* from, int bytes) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(bytes) : "memory");
}

/// Closes a group of this thread's copies.
__device__ inline void commit_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }

/// Waits until at most N of this thread's groups of copies are under way.
template <int N>
__device__ void wait_copies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
}

/// A barrier among `threads` threads of a block (whole warps), `id` from 1 to 15.
__device__ inline void named_barrier(int id, int threads) {
  asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(threads) : "memory");
}

}  // namespace mixprec::inline MIXPREC_ABI::cuda::detail
