// SPDX-License-Identifier: Apache-2.0
// What of this machine and build decides the last bits of the results on CUDA, in words.
#pragma once

#include <map>
#include <string>

#include <cublasLt.h>
#include <cuda_runtime_api.h>
#include <cudnn_graph.h>

#include <mixprec/backend/cuda/check.hpp>
#include <mixprec/backend/cuda/stream.hpp>

namespace mixprec::inline MIXPREC_ABI::cuda {

/// device, cuda (the runtime), cudnn, cublaslt (versions as their makers count them) and tf32 (on or off). Sync: none.
inline std::map<std::string, std::string> environment(Stream const& stream) {
  int runtime = 0;
  check(cudaRuntimeGetVersion(&runtime), "cudaRuntimeGetVersion");
  return {{"device", stream.device_name()},
          {"cuda", std::to_string(runtime)},
          {"cudnn", std::to_string(cudnnGetVersion())},
          {"cublaslt", std::to_string(cublasLtGetVersion())},
          {"tf32", stream.allow_tf32() ? "on" : "off"}};
}

}  // namespace mixprec::inline MIXPREC_ABI::cuda
