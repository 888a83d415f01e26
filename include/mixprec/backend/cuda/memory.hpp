// SPDX-License-Identifier: Apache-2.0
// Owners of device memory and of pinned host memory, and the one sentence about running out of either.
#pragma once

#include <cstddef>
#include <string>
#include <utility>  // std::exchange

#include <cuda_runtime_api.h>

#include <mixprec/backend/cuda/check.hpp>

namespace mixprec::inline MIXPREC_ABI::cuda {

/// Device memory, 512-byte aligned or better. Sync: may wait for the device; not allowed while a stream is captured.
/// Errors: Error with the bytes asked for, used and free. Running out is not sticky: the process stays usable.
inline void* allocate_device(std::size_t bytes) {
  void* memory = nullptr;
  cudaError_t const status = cudaMalloc(&memory, bytes > 0 ? bytes : 1);
  if (status == cudaErrorMemoryAllocation) {
    cudaGetLastError();
    std::size_t free = 0, total = 0;
    check(cudaMemGetInfo(&free, &total), "cudaMemGetInfo");
    throw Error("cuda: out of device memory: " + std::to_string(bytes) + " bytes asked, " +
                std::to_string(total - free) + " used, " + std::to_string(free) + " free of " + std::to_string(total) +
                ". Use a smaller batch or recompute blocks, or free memory that other processes hold.");
  }
  check(status, "cudaMalloc");
  return memory;
}

/// A piece of device memory that is freed with its owner.
class DeviceBuffer {
 public:
  DeviceBuffer() = default;
  /// Errors: as allocate_device.
  explicit DeviceBuffer(std::size_t bytes) : memory_(allocate_device(bytes)), bytes_(bytes) {}
  DeviceBuffer(DeviceBuffer&& other) noexcept
      : memory_(std::exchange(other.memory_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}
  DeviceBuffer& operator=(DeviceBuffer&& other) noexcept {
    std::swap(memory_, other.memory_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  ~DeviceBuffer() {
    if (memory_ != nullptr) cudaFree(memory_);
  }

  void* data() const { return memory_; }
  std::size_t bytes() const { return bytes_; }

 private:
  void* memory_ = nullptr;
  std::size_t bytes_ = 0;
};

/// Page-locked host memory: copies from it to the device run beside kernels and may be captured. Freed with its owner.
class PinnedBuffer {
 public:
  PinnedBuffer() = default;
  /// Errors: Error with the bytes asked for.
  explicit PinnedBuffer(std::size_t bytes) : bytes_(bytes) {
    cudaError_t const status = cudaMallocHost(&memory_, bytes > 0 ? bytes : 1);
    if (status == cudaErrorMemoryAllocation) {
      cudaGetLastError();
      throw Error("cuda: out of pinned host memory: " + std::to_string(bytes) +
                  " bytes asked. Use smaller or fewer input buffers.");
    }
    check(status, "cudaMallocHost");
  }
  PinnedBuffer(PinnedBuffer&& other) noexcept
      : memory_(std::exchange(other.memory_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}
  PinnedBuffer& operator=(PinnedBuffer&& other) noexcept {
    std::swap(memory_, other.memory_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  ~PinnedBuffer() {
    if (memory_ != nullptr) cudaFreeHost(memory_);
  }

  void* data() const { return memory_; }
  std::size_t bytes() const { return bytes_; }

 private:
  void* memory_ = nullptr;
  std::size_t bytes_ = 0;
};

}  // namespace mixprec::inline MIXPREC_ABI::cuda
