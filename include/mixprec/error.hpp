// SPDX-License-Identifier: Apache-2.0
// The one exception type. A message says what is wrong, the values, and what to do.
#pragma once

#include <stdexcept>
#include <string>

#include <mixprec/config.hpp>

namespace mixprec::inline MIXPREC_ABI {

/// Every run-time failure of the library: "mixprec: <what is wrong, with values>. <what to do>."
class Error : public std::runtime_error {
 public:
  explicit Error(std::string const& message) : std::runtime_error("mixprec: " + message) {}
};

}  // namespace mixprec::inline MIXPREC_ABI
