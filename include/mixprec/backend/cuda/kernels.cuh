// SPDX-License-Identifier: Apache-2.0
// Every kernel of the CUDA backend, for programs that compile with nvcc. docs/kernels.md is their contract.
#pragma once

#include <mixprec/backend/cuda/adaptive_pool.cuh>
#include <mixprec/backend/cuda/argmax.cuh>
#include <mixprec/backend/cuda/batch_norm.cuh>
#include <mixprec/backend/cuda/concat.cuh>
#include <mixprec/backend/cuda/conv2d.hpp>
#include <mixprec/backend/cuda/dropout.cuh>
#include <mixprec/backend/cuda/elementwise.cuh>
#include <mixprec/backend/cuda/layout.cuh>
#include <mixprec/backend/cuda/loss.cuh>
#include <mixprec/backend/cuda/matmul.hpp>
#include <mixprec/backend/cuda/optimizer.cuh>
#include <mixprec/backend/cuda/pool.cuh>
#include <mixprec/backend/cuda/pyramid_pool.cuh>
#include <mixprec/backend/cuda/reduce.cuh>
#include <mixprec/backend/cuda/relu.cuh>
#include <mixprec/backend/cuda/resize.cuh>
#include <mixprec/backend/cuda/resize_cross_entropy.cuh>
#include <mixprec/backend/cuda/softmax.cuh>
