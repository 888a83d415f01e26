// SPDX-License-Identifier: Apache-2.0
// What a session remembers in order to run a block's forward pass a second time as it ran the first time.
#pragma once

#include <cstdint>

#include <mixprec/config.hpp>

namespace mixprec::inline MIXPREC_ABI {

struct ForwardState {
  bool training = true;
  bool grad_enabled = true;
  /// A second run of a block: rows are not recorded, parameters not counted, running statistics not moved.
  bool replaying = false;
  std::uint64_t random_calls = 0;  // the number of the next call for random numbers
};

}  // namespace mixprec::inline MIXPREC_ABI
