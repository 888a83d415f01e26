// SPDX-License-Identifier: Apache-2.0
// What the quickstart found out, and how it is shown: a table, a picture, a JSON file.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "options.hpp"

namespace quickstart {

/// One training run.
struct Run {
  std::string column{};                     // "fp32" or "mixed"
  std::string policy{};                     // the policy's own name
  std::string scaler{};                     // "none", "dynamic" or "512"
  std::vector<double> losses{}, scales{};   // one a step
  std::vector<double> step_milliseconds{};  // one a step
  std::vector<double> accuracies{};         // on the test images, one an epoch
  std::vector<int> predictions{};           // one a test image
  std::size_t peak_bytes = 0;               // most memory live at once during training
  std::int64_t skipped = 0;
};

/// Test images that the picture shows.
struct Samples {
  int height = 0, width = 0;
  std::vector<std::uint8_t> pixels;  // (count, height, width)
  std::vector<int> labels;
  std::vector<std::string> class_names;
};

inline constexpr int shown_samples = 18;

struct Report {
  std::vector<Run> runs;
  Samples samples;
  std::string note;  // a line under the table; empty: none
};

/// The table whose rows read "test accuracy | 0.9876 | 0.9874".
std::string to_table(Report const& report);

/// Loss curves, loss scales and samples with predictions.
void write_picture(Report const& report, std::string const& path);

void write_json(Report const& report, Options const& options, std::string const& path);

}  // namespace quickstart
