// SPDX-License-Identifier: Apache-2.0
// Pixels as networks want them: bytes become floats of mean 0 and deviation 1, by a table.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include <mixprec/data/dataset.hpp>

namespace mixprec::inline MIXPREC_ABI {

/// Gives (x / 255 - mean) / std of a channel's pixel, rounded once from double.
class Normalizer {
 public:
  /// Errors: not one mean and one positive deviation for every channel.
  Normalizer(ChannelStatistics const& statistics, int channels) {
    auto const count = static_cast<std::size_t>(channels);
    if (statistics.mean.size() != count || statistics.std.size() != count) {
      throw Error("loader: normalization has " + std::to_string(statistics.mean.size()) + " means and " +
                  std::to_string(statistics.std.size()) + " deviations for " + std::to_string(channels) +
                  " channels. Give one of each for every channel.");
    }
    for (std::size_t c = 0; c < count; ++c) {
      if (!(statistics.std[c] > 0)) {
        throw Error("loader: normalization.std is " + std::to_string(statistics.std[c]) + ". It must be positive.");
      }
      for (int x = 0; x < 256; ++x) {
        table_.push_back(static_cast<float>((x / 255.0 - statistics.mean[c]) / statistics.std[c]));
      }
    }
  }

  float operator()(std::uint8_t value, int channel) const {
    return table_[static_cast<std::size_t>(256 * channel + value)];
  }

 private:
  std::vector<float> table_;  // (channels, 256)
};

}  // namespace mixprec::inline MIXPREC_ABI
