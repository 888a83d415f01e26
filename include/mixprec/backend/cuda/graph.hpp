// SPDX-License-Identifier: Apache-2.0
// A captured sequence of work on a stream, replayed as one launch.
#pragma once

#include <utility>

#include <cuda_runtime_api.h>

#include <mixprec/backend/cuda/check.hpp>
#include <mixprec/backend/cuda/memory.hpp>
#include <mixprec/backend/cuda/stream.hpp>

namespace mixprec::inline MIXPREC_ABI::cuda {

/// Owns an instantiated CUDA graph. Move-only.
class Graph {
 public:
  Graph() = default;
  Graph(Graph&& other) noexcept : executable_(std::exchange(other.executable_, nullptr)) {}
  Graph& operator=(Graph&& other) noexcept {
    std::swap(executable_, other.executable_);
    return *this;
  }
  ~Graph() {
    if (executable_ != nullptr) cudaGraphExecDestroy(executable_);
  }

  /// Records what `work` puts on the stream, without running it. Errors: what `work` throws, and an Error where the
  /// capture is refused; the stream is usable afterwards. Sync: none.
  template <class Work>
  static Graph capture(Stream& stream, Work&& work) {
    check(cudaStreamBeginCapture(stream.handle(), cudaStreamCaptureModeThreadLocal), "cudaStreamBeginCapture");
    cudaGraph_t recorded = nullptr;
    try {
      work();
    } catch (...) {
      cudaStreamEndCapture(stream.handle(), &recorded);
      if (recorded != nullptr) cudaGraphDestroy(recorded);
      cudaGetLastError();  // the broken capture's error, reported by the exception already
      throw;
    }
    check(cudaStreamEndCapture(stream.handle(), &recorded), "cudaStreamEndCapture");
    Graph graph;
    cudaError_t const status = cudaGraphInstantiate(&graph.executable_, recorded, 0);
    cudaGraphDestroy(recorded);
    check(status, "cudaGraphInstantiate");
    return graph;
  }

  explicit operator bool() const { return executable_ != nullptr; }
  /// Runs the recorded work once. Sync: none.
  void launch(Stream& stream) const { check(cudaGraphLaunch(executable_, stream.handle()), "cudaGraphLaunch"); }

 private:
  cudaGraphExec_t executable_ = nullptr;
};

/// Host memory that a stream copies from while the host fills the next one: two pinned buffers in turn.
class InputBuffer {
 public:
  /// Memory for `bytes`. Sync: waits until the copy from two calls ago has run, which in a steady loop it has.
  void* next(std::size_t bytes) {
    turn_ = 1 - turn_;
    Side& side = sides_[turn_];
    if (side.copied == nullptr)
      check(cudaEventCreateWithFlags(&side.copied, cudaEventDisableTiming), "cudaEventCreate");
    if (side.pending) check(cudaEventSynchronize(side.copied), "cudaEventSynchronize");
    if (side.memory.bytes() < bytes) side.memory = PinnedBuffer(bytes);
    side.pending = true;
    return side.memory.data();
  }
  /// Marks the last memory as in use until the work that is now on the stream has run.
  void copied(Stream& stream) { check(cudaEventRecord(sides_[turn_].copied, stream.handle()), "cudaEventRecord"); }

  InputBuffer() = default;
  InputBuffer(InputBuffer const&) = delete;
  InputBuffer& operator=(InputBuffer const&) = delete;
  ~InputBuffer() {
    for (Side& side : sides_) {
      if (side.copied == nullptr) continue;
      cudaEventSynchronize(side.copied);
      cudaEventDestroy(side.copied);
    }
  }

 private:
  struct Side {
    PinnedBuffer memory;
    cudaEvent_t copied = nullptr;
    bool pending = false;
  };
  Side sides_[2];
  int turn_ = 0;
};

}  // namespace mixprec::inline MIXPREC_ABI::cuda
