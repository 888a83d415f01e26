// SPDX-License-Identifier: Apache-2.0
// The CUDA backend: memory and copies. Its kernels are the other files of this folder.
#pragma once

#include <cstddef>
#include <string>

#include <cuda_runtime_api.h>

#include <mixprec/backend/cuda/check.hpp>
#include <mixprec/backend/cuda/graph.hpp>
#include <mixprec/backend/cuda/memory.hpp>
#include <mixprec/backend/cuda/stream.hpp>
#include <mixprec/error.hpp>

namespace mixprec::inline MIXPREC_ABI {

/// Backend tag and memory interface; models: compute_backend. Calls are asynchronous on the stream unless they say
/// Sync.
struct Cuda {
  using Stream = cuda::Stream;
  using Graph = cuda::Graph;
  using InputBuffer = cuda::InputBuffer;
  static constexpr char const* name = "cuda";
  static constexpr bool computes_float64 = false;
  static constexpr bool captures = true;

  /// Device memory, 512-byte aligned. Sync: may wait for the device. Errors: Error with the bytes asked for, used and
  /// free where memory runs out (the process stays usable), and where a CUDA graph is being captured.
  static void* allocate(Stream& stream, std::size_t bytes) {
    refuse_capture(stream, "allocate");
    return cuda::allocate_device(bytes);
  }
  /// Sync: waits for the device. Nothing is reported, because owners call it while they are destroyed.
  static void release(Stream&, void* memory) { cudaFree(memory); }

  static void copy(Stream& stream, void* to, void const* from, std::size_t bytes) {
    if (bytes == 0) return;
    cuda::check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, stream.handle()), "cudaMemcpyAsync");
  }
  /// Sync: waits, so that `from` may be any host memory and may change afterwards. Errors: Error during a capture.
  static void copy_from_host(Stream& stream, void* to, void const* from, std::size_t bytes) {
    refuse_capture(stream, "copy_from_host");
    copy_from_host_async(stream, to, from, bytes);
    wait(stream);
  }
  /// Sync: waits for all work on the stream. Errors: Error during a capture.
  static void copy_to_host(Stream& stream, void* to, void const* from, std::size_t bytes) {
    refuse_capture(stream, "copy_to_host");
    if (bytes > 0) {
      cuda::check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, stream.handle()), "cudaMemcpyAsync to host");
    }
    wait(stream);
  }
  /// Only on CUDA: does not wait where `from` is pinned (cuda::PinnedBuffer), which must keep its contents until the
  /// stream has passed.
  static void copy_from_host_async(Stream& stream, void* to, void const* from, std::size_t bytes) {
    if (bytes == 0) return;
    cuda::check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, stream.handle()), "cudaMemcpyAsync from host");
  }
  static void zero(Stream& stream, void* memory, std::size_t bytes) {
    if (bytes > 0) cuda::check(cudaMemsetAsync(memory, 0, bytes, stream.handle()), "cudaMemsetAsync");
  }
  /// Sync: waits. Errors: those of the work that was waited for.
  static void wait(Stream& stream) { stream.wait(); }

 private:
  // Asked first, because the forbidden call itself would spoil the capture.
  static void refuse_capture(Stream& stream, char const* call) {
    if (stream.capturing()) {
      throw Error("cuda: " + std::string(call) +
                  " while a CUDA graph is captured. Do it before the capture, or run one eager step first so that "
                  "nothing has to be allocated.");
    }
  }
};

}  // namespace mixprec::inline MIXPREC_ABI
