// SPDX-License-Identifier: Apache-2.0
// The same on CUDA: its networks are the objects of segmentation/step.cu.
#include "segmentation_step.cpp"
