// SPDX-License-Identifier: Apache-2.0
// Times inference of FCN, PSPNet, DeepLabV3 and DeepLabV3+ on ResNet-D8. The networks are the objects of
// segmentation/inference.cpp.
#include "segmentation/subjects.hpp"

int main(int argc, char** argv) {
  return bench::guarded("segmentation_inference", [&] {
    bench::Arguments arguments(argc, argv);
    bench::run_subject(arguments);
  });
}
