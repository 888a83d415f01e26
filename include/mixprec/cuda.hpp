// SPDX-License-Identifier: Apache-2.0
// The CUDA backend in one include: memory, streams and every kernel. Needs nvcc.
#pragma once

#include <mixprec/backend/cuda/cuda.hpp>
#include <mixprec/backend/cuda/environment.hpp>
#include <mixprec/backend/cuda/kernels.cuh>
