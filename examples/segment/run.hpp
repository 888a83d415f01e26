// SPDX-License-Identifier: Apache-2.0
// Training runs by name: every (model, policy, device) that was built is a function in an object file of its own.
#pragma once

#include <span>
#include <string>

#include "data_set.hpp"
#include "history.hpp"
#include "settings.hpp"

namespace segment {

/// What a run is made of; it must outlive the call.
struct RunRequest {
  Settings const& settings;
  DataSet const& data;

  /// OUTPUT/POLICY.what: where a run keeps its files.
  std::string path(char const* what) const { return settings.output + "/" + settings.policy + "." + what; }
};

struct BuiltRun {
  char const *model, *policy, *device;
  /// Trains, evaluates, writes weights and checkpoints. Errors: what goes wrong, as an exception.
  RunResult (*train_and_evaluate)(RunRequest const&);
};

/// In the order of the build's lists.
std::span<BuiltRun const> built_runs();

/// What all built networks have in common.
struct NetworkSizes {
  int depth, backbone_width, head_width, output_stride, classes;
};
NetworkSizes network_sizes();

}  // namespace segment
