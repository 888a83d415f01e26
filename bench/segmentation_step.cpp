// SPDX-License-Identifier: Apache-2.0
// Times one training step of FCN, PSPNet, DeepLabV3 and DeepLabV3+ on ResNet-D8. The networks are the objects of
// segmentation/step.cpp.
#include "segmentation/subjects.hpp"

int main(int argc, char** argv) {
  return bench::guarded("segmentation_step", [&] {
    bench::Arguments arguments(argc, argv);
    bench::run_subject(arguments);
  });
}
