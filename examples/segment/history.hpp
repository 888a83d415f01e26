// SPDX-License-Identifier: Apache-2.0
// What a run of `segment` has gone through. It travels in the checkpoints, so that a resumed run reports all of it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include <mixprec/data/image.hpp>

namespace segment {

/// Predictions on the validation images against their labels.
struct Evaluation {
  int epoch = 0;  // epochs trained before it
  double mean_iou = 0, accuracy = 0, mean_accuracy = 0;
  std::vector<double> class_iou;        // NaN where neither labels nor predictions have the class
  std::vector<std::int64_t> confusion;  // (label, prediction), of the network's outputs
  double seconds = 0;
};

struct History {
  std::vector<double> losses, scales, milliseconds;  // one a step
  std::vector<Evaluation> evaluations;
  std::int64_t skipped = 0;
  std::size_t peak_bytes = 0;  // most memory live at once during training
};

/// Exact, but for what a NaN is. Errors: text that is not a history.
std::string to_text(History const& history);
History history_from_text(std::string const& text);

/// One finished run.
struct RunResult {
  History history;
  Evaluation evaluation;                   // the last one
  std::vector<mixprec::LabelMap> samples;  // predictions for the first validation images
  std::int64_t steps_per_epoch = 0, resumed_at = 0;
  double train_seconds = 0;  // of this process, with data loading, without evaluation
  std::string graph_note;    // why the GPU's steps were no graphs; empty: they were, or there is no GPU
};

}  // namespace segment
