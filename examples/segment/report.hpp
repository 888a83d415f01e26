// SPDX-License-Identifier: Apache-2.0
// What `segment` leaves behind: a table, curves, a sheet of predictions, a JSON file.
#pragma once

#include <string>
#include <vector>

#include "options.hpp"
#include "run.hpp"

namespace segment {

struct FinishedRun {
  Settings settings;
  RunResult result;
};

/// One column a run; rows from "mIoU | 0.5012 | 0.5034" to the IoU of each class.
std::string to_table(std::vector<FinishedRun> const& runs, DataSet const& data);

/// OUTPUT/curves.png, and OUTPUT/POLICY.sheet.png: validation images with labels and predictions.
void write_pictures(std::vector<FinishedRun> const& runs, DataSet const& data);

/// OUTPUT/result.json. `device`: the GPU's name, or "cpu".
void write_json(std::vector<FinishedRun> const& runs, Options const& options, DataSet const& data,
                std::string const& device);

}  // namespace segment
