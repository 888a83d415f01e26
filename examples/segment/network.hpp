// SPDX-License-Identifier: Apache-2.0
// The networks of `segment`, at the sizes that the build chose.
#pragma once

#include <mixprec/models/deeplabv3plus.hpp>

namespace segment {

using Backbone = mixprec::models::ResNetBackbone<
    SEGMENT_DEPTH, mixprec::models::ResNetOptions{
                       .width = SEGMENT_BACKBONE_WIDTH, .deep_stem = true, .output_stride = SEGMENT_OUTPUT_STRIDE}>;

/// `Model` is one of models::Fcn, PspNet, DeepLabV3, DeepLabV3Plus.
template <template <class, int, int> class Model>
using Network = Model<Backbone, SEGMENT_CLASSES, SEGMENT_HEAD_WIDTH>;

}  // namespace segment
