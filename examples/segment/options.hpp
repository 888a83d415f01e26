// SPDX-License-Identifier: Apache-2.0
// The command line of `segment`.
#pragma once

#include <optional>

#include "../support/gpu.hpp"
#include "data_set.hpp"
#include "settings.hpp"

namespace segment {

struct Options {
  Settings settings;  // of the run, or of the mixed one of a comparison
  DataOptions data;
  bool compare = false;  // train in fp32 too
};

/// Reads the command line. Empty where the program has to end with `exit_code`: 0 after --help, 2 after one sentence
/// on standard error.
std::optional<Options> parse_options(int argc, char const* const* argv, support::Abilities abilities, int& exit_code);

}  // namespace segment
