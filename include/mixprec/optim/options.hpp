// SPDX-License-Identifier: Apache-2.0
// What all optimizers ask of their options.
#pragma once

#include <cmath>  // std::isfinite
#include <string>

#include <mixprec/error.hpp>

namespace mixprec::inline MIXPREC_ABI::detail {

inline void require_option(bool good, char const* optimizer, char const* field, double value, char const* remedy) {
  if (good) return;
  throw Error(std::string(optimizer) + ": ." + field + " is " + std::to_string(value) + ". " + remedy);
}

inline void check_common_options(char const* optimizer, double weight_decay, double max_norm) {
  require_option(weight_decay >= 0.0 && std::isfinite(weight_decay), optimizer, "weight_decay", weight_decay,
                 "Use a number that is not negative.");
  require_option(max_norm >= 0.0 && std::isfinite(max_norm), optimizer, "max_norm", max_norm,
                 "Use a positive number, or 0 for no clipping.");
}

}  // namespace mixprec::inline MIXPREC_ABI::detail
