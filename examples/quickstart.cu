// SPDX-License-Identifier: Apache-2.0
// The quickstart's training on CUDA: the same source, compiled by nvcc.
#include <mixprec/cuda.hpp>

#include "quickstart.cpp"
