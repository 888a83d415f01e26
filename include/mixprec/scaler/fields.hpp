// SPDX-License-Identifier: Apache-2.0
// The scaler's state as named numbers, for checkpoints: exact, and checked when it comes back.
#pragma once

#include <array>
#include <cmath>  // std::isfinite, std::floor
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>  // std::pair

#include <mixprec/backend/optimizer_arguments.hpp>
#include <mixprec/error.hpp>

namespace mixprec::inline MIXPREC_ABI {

inline constexpr std::size_t scaler_field_count = 6;

/// Every field of the state by name. Precision: exact; step counts up to 2^53.
inline std::array<std::pair<char const*, double>, scaler_field_count> to_fields(ScalerState const& state) {
  return {{{"scale", state.scale},
           {"growth_tracker", state.growth_tracker},
           {"hysteresis_left", state.hysteresis_left},
           {"found_inf", state.found_inf},
           {"steps_taken", static_cast<double>(state.steps_taken)},
           {"steps_skipped", static_cast<double>(state.steps_skipped)}}};
}

/// The state from named numbers in any order; `fields` is a range of pairs of a name and a double.
/// Errors: Error that names the field where one is missing, unknown, given twice, or has a value that no state has.
template <class Fields>
ScalerState scaler_state_from_fields(Fields const& fields) {
  constexpr double max_int32 = 2147483647.0, max_count = 0x1p53;
  struct Field {
    std::string_view name;
    double least, most;
    bool whole;
    double value = 0.0;
    bool found = false;
  };
  std::array<Field, scaler_field_count> known = {{{"scale", 0x1p-126, 0x1.fffffep127, false},
                                                  {"growth_tracker", 0.0, max_int32, true},
                                                  {"hysteresis_left", 0.0, max_int32, true},
                                                  {"found_inf", 0.0, 1.0, true},
                                                  {"steps_taken", 0.0, max_count, true},
                                                  {"steps_skipped", 0.0, max_count, true}}};
  for (auto const& [name_given, value] : fields) {
    std::string_view const name = name_given;
    Field* field = nullptr;
    for (Field& candidate : known) {
      if (candidate.name == name) field = &candidate;
    }
    std::string const named = "scaler state: field \"" + std::string(name) + "\"";
    if (field == nullptr) {
      throw Error(named + " is unknown. Use a checkpoint of this version, or remove the field.");
    }
    if (field->found) throw Error(named + " is given twice. Remove one.");
    bool const in_range = std::isfinite(value) && value >= field->least && value <= field->most;
    bool const exact =
        field->whole ? std::floor(value) == value : in_range && static_cast<double>(static_cast<float>(value)) == value;
    if (!in_range || !exact) {
      throw Error(named + " is " + std::to_string(value) + ", which no state has. Restore another checkpoint.");
    }
    field->value = value;
    field->found = true;
  }
  for (Field const& field : known) {
    if (!field.found) {
      throw Error("scaler state: field \"" + std::string(field.name) +
                  "\" is missing. Restore a checkpoint that was saved with to_fields.");
    }
  }
  return {.scale = static_cast<float>(known[0].value),
          .growth_tracker = static_cast<std::int32_t>(known[1].value),
          .hysteresis_left = static_cast<std::int32_t>(known[2].value),
          .found_inf = static_cast<float>(known[3].value),
          .steps_taken = static_cast<std::int64_t>(known[4].value),
          .steps_skipped = static_cast<std::int64_t>(known[5].value)};
}

}  // namespace mixprec::inline MIXPREC_ABI
