// SPDX-License-Identifier: Apache-2.0
// The same on CUDA: its networks are the objects of segmentation/inference.cu.
#include "segmentation_inference.cpp"
