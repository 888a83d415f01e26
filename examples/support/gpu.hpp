// SPDX-License-Identifier: Apache-2.0
// The GPU that an example would run on, asked without loading the library's backend.
#pragma once

#include <string>

#ifdef EXAMPLES_WITH_CUDA
#include <cuda_runtime_api.h>
#endif

namespace support {

/// What this build and this machine can do.
struct Abilities {
  bool built_with_cuda = false, gpu_found = false;
};

#ifdef EXAMPLES_WITH_CUDA

inline Abilities abilities() {
  int count = 0;
  return {true, cudaGetDeviceCount(&count) == cudaSuccess && count > 0};
}

/// As the driver calls it; empty where there is none.
inline std::string gpu_name() {
  cudaDeviceProp properties{};
  return cudaGetDeviceProperties(&properties, 0) == cudaSuccess ? properties.name : "";
}

#else

inline Abilities abilities() { return {}; }
inline std::string gpu_name() { return ""; }

#endif

}  // namespace support
