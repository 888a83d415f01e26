// SPDX-License-Identifier: Apache-2.0
// The CUDA execution context: a stream, its device, scratch memory, and what vendor libraries keep for it.
// Kernels take it first, which is how lookup finds them. It includes no vendor library's header.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <utility>  // std::pair, std::move
#include <vector>

#include <cuda_runtime_api.h>

#include <mixprec/backend/cuda/architecture.hpp>
#include <mixprec/backend/cuda/check.hpp>
#include <mixprec/backend/cuda/memory.hpp>

namespace mixprec::inline MIXPREC_ABI::cuda {

/// CUDA devices of this machine; 0 where there is no driver. Never throws.
inline int device_count() noexcept {
  int count = 0;
  if (cudaGetDeviceCount(&count) == cudaSuccess) return count;
  cudaGetLastError();
  return 0;
}

/// Most bytes that a convolution may use as workspace unless set_workspace_cap says otherwise; models pass their
/// policy's.
inline constexpr std::size_t default_workspace_cap = std::size_t{256} << 20;

/// Work on a Stream runs in order, asynchronously to the host, on the device that was current when it was made; that
/// device must be current when the Stream is used. Not thread-safe. Destruction waits for the work.
class Stream {
 public:
  /// Errors: Error where there is no CUDA device, or where it is below compute capability 8.0.
  Stream() {
    if (device_count() == 0) {
      throw Error(
          "no CUDA device found. Use the CPU backend, or check the driver (nvidia-smi) and CUDA_VISIBLE_DEVICES.");
    }
    check(cudaGetDevice(&device_), "cudaGetDevice");
    cudaDeviceProp properties;
    check(cudaGetDeviceProperties(&properties, device_), "cudaGetDeviceProperties");
    device_name_ = properties.name;
    multiprocessors_ = properties.multiProcessorCount;
    compute_capability_ = 10 * properties.major + properties.minor;
    if (compute_capability_ < minimum_compute_capability) {
      throw Error("cuda: " + device_name_ + " has compute capability " + std::to_string(properties.major) + "." +
                  std::to_string(properties.minor) +
                  ", and 8.0 is the least that is supported. Use another GPU or the CPU backend.");
    }
    check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "cudaStreamCreateWithFlags");
  }
  Stream(Stream const&) = delete;
  Stream& operator=(Stream const&) = delete;
  ~Stream() {
    cudaStreamSynchronize(stream_);
    // Last made, first destroyed: plans before the handle that they use, handles before the stream.
    while (!attachments_.empty()) attachments_.pop_back();
    cudaStreamDestroy(stream_);
  }

  cudaStream_t handle() const { return stream_; }
  int device() const { return device_; }
  std::string const& device_name() const { return device_name_; }
  int multiprocessors() const { return multiprocessors_; }
  int compute_capability() const { return compute_capability_; }  // 90 for 9.0

  /// Returns when all work so far is done, with its errors. Sync: waits.
  void wait() const { check(cudaStreamSynchronize(stream_), "cudaStreamSynchronize"); }

  /// True between the begin and the end of a capture into a CUDA graph.
  bool capturing() const {
    cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
    check(cudaStreamIsCapturing(stream_, &status), "cudaStreamIsCapturing");
    return status != cudaStreamCaptureStatusNone;
  }

  /// Scratch memory of at least `bytes` for this library's kernels, valid until the next call.
  /// Sync: waits where the buffer has to grow. Errors: Error where it would have to grow during a capture.
  void* scratch(std::size_t bytes) { return grown(scratch_, bytes, "scratch memory"); }

  /// As scratch, a second buffer for vendor libraries and for large operands that are made for them; a call that asks
  /// for no more than one before it gets the same memory, until trim_workspace. Errors: also where `bytes` is over
  /// workspace_cap().
  void* workspace(std::size_t bytes) {
    if (bytes > workspace_cap_) {
      throw Error("cuda: a workspace of " + std::to_string(bytes) + " bytes is over the cap of " +
                  std::to_string(workspace_cap_) + ". Raise it with Stream::set_workspace_cap.");
    }
    return grown(workspace_, bytes, "library workspace");
  }
  std::size_t workspace_cap() const { return workspace_cap_; }
  void set_workspace_cap(std::size_t bytes) { workspace_cap_ = bytes; }
  /// Which of the two buffers captured graphs hold on to, so that they are set aside instead of freed when they are
  /// outgrown. Whoever destroys a graph at once may put back what was.
  struct KeptByGraphs {
    bool scratch, workspace;
  };
  KeptByGraphs kept_by_graphs() const { return {scratch_.in_graph, workspace_.in_graph}; }
  void set_kept_by_graphs(KeptByGraphs kept) {
    scratch_.in_graph = kept.scratch;
    workspace_.in_graph = kept.workspace;
  }

  /// Undoes what calls that are not to be repeated made of workspace(): its use goes back to `used`, a value of
  /// workspace_used() before them, and memory above that is given back unless a graph holds on to it. Sync: waits where
  /// memory is given back.
  void trim_workspace(std::size_t used) {
    workspace_.most = used;
    if (workspace_.in_graph || workspace_.buffer.bytes() <= rounded_up(used)) return;
    wait();
    workspace_.buffer = DeviceBuffer();
    if (used > 0) workspace_.buffer = DeviceBuffer(rounded_up(used));  // a capture may come before the next call
  }

  /// The most bytes that one call has asked for; of workspace, without what trim_workspace has undone.
  std::size_t workspace_used() const { return workspace_.most; }
  std::size_t scratch_used() const { return scratch_.most; }

  /// Whether float matmuls and convolutions may round their operands to TF32. Off unless set.
  bool allow_tf32() const { return allow_tf32_; }
  void set_allow_tf32(bool allow) { allow_tf32_ = allow; }

  /// The one T that belongs to this Stream, made by T(Stream&) on the first call: vendor handles and plan caches.
  template <class T>
  T& attached() {
    void const* const key = &attachment_key<T>;
    for (auto const& [other, object] : attachments_) {
      if (other == key) return *static_cast<T*>(object.get());
    }
    auto object = std::make_shared<T>(*this);
    attachments_.emplace_back(key, object);
    return *object;
  }

 private:
  struct Growing {
    DeviceBuffer buffer;
    std::size_t most = 0;
    bool in_graph = false;
  };

  static constexpr std::size_t rounded_up(std::size_t bytes) {
    std::size_t constexpr granularity = std::size_t{2} << 20;
    return (bytes + granularity - 1) / granularity * granularity;
  }

  // A captured graph keeps the address that it saw. Such a buffer is set aside when it is outgrown; others are freed.
  void* grown(Growing& growing, std::size_t bytes, char const* what) {
    bool const in_graph = capturing();
    if (bytes > growing.buffer.bytes()) {
      if (in_graph) {
        throw Error("cuda: " + std::string(what) + " has to grow from " + std::to_string(growing.buffer.bytes()) +
                    " to " + std::to_string(bytes) +
                    " bytes while a CUDA graph is captured. Run one eager step of the same shapes first.");
      }
      wait();
      if (growing.in_graph) retired_.push_back(std::move(growing.buffer));
      growing.buffer = DeviceBuffer();
      growing.in_graph = false;
      growing.buffer = DeviceBuffer(rounded_up(bytes));
    }
    growing.in_graph |= in_graph;
    if (bytes > growing.most) growing.most = bytes;
    return growing.buffer.data();
  }

  template <class T>
  inline static char attachment_key = 0;

  int device_ = 0;
  std::string device_name_;
  int multiprocessors_ = 0, compute_capability_ = 0;
  cudaStream_t stream_ = nullptr;
  Growing scratch_, workspace_;
  std::vector<DeviceBuffer> retired_;
  std::size_t workspace_cap_ = default_workspace_cap;
  bool allow_tf32_ = false;
  std::vector<std::pair<void const*, std::shared_ptr<void>>> attachments_;
};

}  // namespace mixprec::inline MIXPREC_ABI::cuda
