// SPDX-License-Identifier: Apache-2.0
// Sixteen-byte accesses: how kernels read and write several elements at once, whatever their types.
#pragma once

#include <cstddef>
#include <cstdint>

#include <mixprec/backend/cuda/architecture.hpp>
#include <mixprec/dtype/dtype.hpp>

namespace mixprec::inline MIXPREC_ABI::cuda::detail {

constexpr std::size_t smallest(std::size_t a) { return a; }
template <class... Rest>
constexpr std::size_t smallest(std::size_t a, Rest... rest) {
  std::size_t const other = smallest(rest...);
  return a < other ? a : other;
}

/// Elements that a thread handles at once where tensors of all these types take part: the narrowest type fills sixteen
/// bytes, a wider one takes two accesses.
template <class... T>
inline constexpr int vector_width = static_cast<int>(16 / smallest(sizeof(T)...));

/// W elements side by side in memory, aligned so that the compiler reads and writes sixteen bytes at a time.
template <class T, int W>
struct alignas(sizeof(T) * W < 16 ? sizeof(T) * W : 16) Vector {
  T element[W];
};

/// Reads `p[0..W)`; `p` is aligned to the vector.
template <int W, class T>
__device__ Vector<T, W> load(T const* p) {
  return *reinterpret_cast<Vector<T, W> const*>(p);
}

/// Writes `p[0..W)`; `p` is aligned to the vector.
template <int W, class T>
__device__ void store(T* p, Vector<T, W> const& vector) {
  *reinterpret_cast<Vector<T, W>*>(p) = vector;
}

/// Whether rows of `c` elements, `stride` elements apart from `p` on, can be handled W elements at once.
template <int W, class T>
bool takes_vectors(std::int64_t c, std::int64_t stride, T const* p) {
  return (c | stride) % W == 0 && reinterpret_cast<std::uintptr_t>(p) % alignof(Vector<T, W>) == 0;
}

/// Two floats that another block may have written while this kernel runs: read from the second-level cache.
__device__ inline float2 load_shared_result(float2 const* p) { return __ldcg(p); }
__device__ inline float load_shared_result(float const* p) { return __ldcg(p); }

}  // namespace mixprec::inline MIXPREC_ABI::cuda::detail
