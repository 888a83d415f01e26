// SPDX-License-Identifier: Apache-2.0
// Progress, history and timing of a run: what its training loop needs and no type of network changes.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>

#include <mixprec/data/dataset.hpp>
#include <mixprec/scaler/step_result.hpp>

#include "../support/progress.hpp"
#include "run.hpp"

namespace segment {

class RunLog {
 public:
  using Notes = std::map<std::string, std::string>;

  RunLog(RunRequest const& request, mixprec::ChannelStatistics const& statistics, std::int64_t steps_per_epoch);

  /// What a checkpoint must agree with for its run to go on under these settings.
  Notes const& identity() const { return identity_; }
  /// The same and what has happened so far.
  Notes notes() const;
  /// Goes on from a checkpoint's notes, and passes its warnings on.
  void resume(Notes const& notes, std::vector<std::string> const& warnings, std::int64_t step);

  /// A step begins: what comes before it, since the last one, is waiting for data.
  void begin_step() { begun_ = Clock::now(); }
  void end_step(double loss, mixprec::StepResult const& result, std::size_t peak_bytes);
  /// Whether a checkpoint is due behind the last step.
  bool checkpoint_due() const;
  /// Whether epoch `done` (from 1) ends with an evaluation; the last one's is no part of training.
  bool evaluation_due(std::int64_t done) const;
  void evaluated(Evaluation evaluation, std::int64_t epochs_done);
  void end_epoch(std::int64_t done);

  RunResult result(std::vector<mixprec::LabelMap> samples, std::string graph_note) &&;

 private:
  using Clock = std::chrono::steady_clock;
  std::int64_t steps() const { return static_cast<std::int64_t>(history_.losses.size()); }

  Settings const& settings_;
  std::int64_t steps_per_epoch_, resumed_at_ = 0;
  Notes identity_;
  History history_;
  support::Progress progress_;
  support::ProgressState state_;
  Clock::time_point started_ = Clock::now(), begun_ = started_;
  double evaluation_seconds_ = 0;  // of this process
};

}  // namespace segment
