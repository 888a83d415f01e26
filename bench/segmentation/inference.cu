// SPDX-License-Identifier: Apache-2.0
// Inference of one segmentation network on CUDA: the same source, compiled by nvcc.
#include <cuda_profiler_api.h>
#include <mixprec/cuda.hpp>

#include "inference.cpp"
