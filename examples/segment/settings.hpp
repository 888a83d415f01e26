// SPDX-License-Identifier: Apache-2.0
// What decides how a run of `segment` goes. Two runs with equal settings, on equal data, compute the same.
#pragma once

#include <cstdint>
#include <string>

#include <mixprec/data/image.hpp>

namespace segment {

struct Settings {
  std::string model, policy, device;  // as on the command line
  std::string scale = "none";         // none, dynamic, or a number that stays
  int epochs = 60;
  int batch_size = 8;
  std::uint64_t seed = 0;
  double learning_rate = 0.05;
  double power = 0.9;  // of the poly schedule
  std::int64_t warmup = 100;
  double momentum = 0.9, weight_decay = 5e-4;
  mixprec::ImageExtent crop{};
  bool tf32 = false;         // of the GPU's float matmuls and convolutions
  bool slide = false;        // evaluation by sliding windows of the crop's extent
  bool test_scales = false;  // evaluation averages three scales, each mirrored and not
  int evaluate_every = 0;    // epochs; 0: at the end only
  // What follows changes no result.
  int workers = 2;
  int checkpoint_every = 0;  // steps; 0: none
  bool resume = false;
  std::string output;  // folder
};

}  // namespace segment
