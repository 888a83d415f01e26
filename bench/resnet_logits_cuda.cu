// SPDX-License-Identifier: Apache-2.0
// ResNet-50's logits on CUDA: the same source, compiled by nvcc.
#include <mixprec/cuda.hpp>

#include "resnet_logits.cpp"
