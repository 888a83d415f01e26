// SPDX-License-Identifier: Apache-2.0
// Turns a CUDA runtime status into an Error. Nothing in the CUDA backend calls CUDA without it.
#pragma once

#include <string>

#include <cuda_runtime_api.h>

#include <mixprec/error.hpp>

namespace mixprec::inline MIXPREC_ABI::cuda {

namespace detail {

/// What to do about a CUDA status, as a sentence.
inline char const* remedy_for(cudaError_t status) {
  switch (status) {
    case cudaErrorMemoryAllocation: return "Use a smaller batch, or free memory that other processes hold";
    case cudaErrorNoDevice: return "Use the CPU backend, or check the driver and CUDA_VISIBLE_DEVICES";
    case cudaErrorInsufficientDriver: return "Install a driver that supports this CUDA version";
    case cudaErrorNoKernelImageForDevice: return "Add the device's architecture to CMAKE_CUDA_ARCHITECTURES";
    case cudaErrorIllegalAddress:
    case cudaErrorMisalignedAddress:
    case cudaErrorLaunchFailure:
      return "The CUDA context is lost: restart the process, and run it under compute-sanitizer to find the kernel";
    case cudaErrorStreamCaptureUnsupported:
    case cudaErrorStreamCaptureInvalidated:
    case cudaErrorStreamCaptureImplicit:
      return "The call is not allowed while a CUDA graph is captured: run one eager step before the capture";
    default: return "Run with CUDA_LAUNCH_BLOCKING=1 to find the call that failed first";
  }
}

}  // namespace detail

/// Throws where `status` is not success. `call` names the CUDA function or the kernel, with its values where they help.
/// The runtime's last error is cleared, so that an error that is not sticky leaves the process usable.
inline void check(cudaError_t status, char const* call) {
  if (status == cudaSuccess) [[likely]]
    return;
  cudaGetLastError();
  throw Error("cuda: " + std::string(call) + " failed: " + cudaGetErrorName(status) + " (" +
              std::to_string(static_cast<int>(status)) + "): " + cudaGetErrorString(status) + ". " +
              detail::remedy_for(status) + ".");
}

/// Throws where the kernel launch just before was refused. Sync: none; a fault inside the kernel shows up later.
inline void check_launch(char const* kernel) { check(cudaGetLastError(), kernel); }

}  // namespace mixprec::inline MIXPREC_ABI::cuda
