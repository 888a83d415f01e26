// SPDX-License-Identifier: Apache-2.0
// Kernels whose shared memory is sized at launch, which is also the only way to more than 48 KiB of it.
#pragma once

#include <cstddef>

#include <mixprec/backend/cuda/check.hpp>
#include <mixprec/backend/cuda/stream.hpp>

namespace mixprec::inline MIXPREC_ABI::cuda::detail {

/// The block's dynamic shared memory.
template <class T>
__device__ T* dynamic_shared() {
  extern __shared__ __align__(128) unsigned char dynamic_shared_memory[];
  return reinterpret_cast<T*>(dynamic_shared_memory);
}

/// As launch, with `bytes` of dynamic shared memory.
/// Sync: none. Errors: Error with `name` where the launch is refused, also for want of shared memory.
template <class... Parameters, class... Arguments>
void launch_with_memory(Stream& stream, char const* name, dim3 grid, int threads, std::size_t bytes,
                        void (*kernel)(Parameters...), Arguments const&... arguments) {
  constexpr std::size_t always = 48 << 10;
  if (bytes > always) {
    check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes)), name);
  }
  kernel<<<grid, static_cast<unsigned>(threads), bytes, stream.handle()>>>(static_cast<Parameters>(arguments)...);
  check(cudaGetLastError(), name);
}

}  // namespace mixprec::inline MIXPREC_ABI::cuda::detail
