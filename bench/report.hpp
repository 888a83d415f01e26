// SPDX-License-Identifier: Apache-2.0
// What the programs that stand beside a peer have in common: their arguments and the first keys of their report.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "machine.hpp"

namespace bench {

struct RunDefaults {
  std::string policy;
  std::int64_t batch, least_batch, steps;
};

struct RunOptions {
  std::string policy, commit;
  std::int64_t batch = 0, steps = 0, warm_up = 0, seed = 0;
  bool serve = false;

  explicit RunOptions(Arguments& arguments, RunDefaults const& defaults) {
    policy = arguments.text("policy", defaults.policy);
    commit = arguments.text("commit", "");
    batch = arguments.number("batch", defaults.batch, defaults.least_batch);
    steps = arguments.number("steps", defaults.steps, 1);
    warm_up = arguments.number("warm-up", 15, 1);
    seed = arguments.number("seed", 0);
    serve = arguments.number("serve", 0) != 0;
  }
};

/// A report up to its times. Requires: `times`, in milliseconds, is not empty; `wall` is that of one of them.
template <class B>
JsonLine begin_report(RunOptions const& options, typename B::Stream& stream, std::vector<double> const& times,
                      double wall) {
  JsonLine line;
  line.add("peer", "mixprec")
      .add("version", std::to_string(MIXPREC_VERSION_MAJOR) + "." + std::to_string(MIXPREC_VERSION_MINOR) + "." +
                          std::to_string(MIXPREC_VERSION_PATCH));
  if (options.commit.empty()) {
    line.null("commit");
  } else {
    line.add("commit", options.commit);
  }
  Machine<B>::describe(stream, line);
  line.add("mode", options.policy)
      .add("batch", options.batch)
      .add("ms", median(times), 4)
      .add("ms_min", *std::min_element(times.begin(), times.end()), 4)
      .add("ms_mean", mean(times), 4)
      .add("ms_wall", wall, 4)
      .add("steps", static_cast<std::int64_t>(times.size()));
  return line;
}

/// How large a network is, so that it can be told whether a peer runs the same one.
template <class Session>
void add_parameters(JsonLine& line, Session& session) {
  std::int64_t parameters = 0, convolutions = 0;
  for (mp::ParameterEntry const& entry : session.parameters().entries()) {
    parameters += entry.size();
    convolutions += entry.rank == 4 ? 1 : 0;
  }
  line.add("parameters", parameters).add("convolutions", convolutions);
}

}  // namespace bench
