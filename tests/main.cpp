// SPDX-License-Identifier: Apache-2.0
// The main function of every test program. Compiled a second time for the CUDA tests, which need a device to run on.
#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>

#ifdef MIXPREC_TEST_NEEDS_GPU
#include <cuda_runtime_api.h>

#include <cstdio>
#endif

int main(int argc, char** argv) {
#ifdef MIXPREC_TEST_NEEDS_GPU
  int devices = 0;
  if (cudaError_t const status = cudaGetDeviceCount(&devices); status != cudaSuccess || devices == 0) {
    std::printf("SKIPPED: no CUDA device (%s)\n", cudaGetErrorString(status));
    return 77;  // CTest's SKIP_RETURN_CODE
  }
#endif
  doctest::Context context(argc, argv);
  return context.run();
}
