// SPDX-License-Identifier: Apache-2.0
// Evaluation of a segmentation network, whichever its type: whole images or sliding windows, one view or several.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include <mixprec/data/dataset.hpp>

#include "data_set.hpp"
#include "history.hpp"
#include "settings.hpp"

namespace segment {

/// A network without its types: what evaluation asks of it. Images are (height, width, 3), normalised.
class Segmenter {
 public:
  virtual ~Segmenter() = default;
  virtual int outputs() const = 0;
  /// The class of every pixel.
  virtual std::vector<std::int32_t> classes(std::span<float const> image, mixprec::ImageExtent extent) = 0;
  /// (height, width, outputs), at the image's resolution.
  virtual std::vector<float> logits(std::span<float const> image, mixprec::ImageExtent extent) = 0;
};

/// The first images whose predictions the picture shows.
inline constexpr int shown_samples = 6;

/// Predicts every validation image; `samples`, where not null, receives the predictions of the first ones.
Evaluation evaluate(Segmenter& network, DataSet const& data, mixprec::ChannelStatistics const& normalization,
                    Settings const& settings, std::vector<mixprec::LabelMap>* samples);

}  // namespace segment
