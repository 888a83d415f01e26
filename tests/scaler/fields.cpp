// SPDX-License-Identifier: Apache-2.0
// The scaler's state as named numbers: exact both ways, and nothing wrong gets in.
#include <doctest/doctest.h>

#include <limits>
#include <string>
#include <utility>
#include <vector>

#include <mixprec/scaler/fields.hpp>

using namespace mixprec;
using Fields = std::vector<std::pair<std::string, double>>;

namespace {
ScalerState example() {
  return {.scale = 0x1.234568p-20f,
          .growth_tracker = 1999,
          .hysteresis_left = 0,
          .found_inf = 1.0f,
          .steps_taken = (std::int64_t{1} << 53) - 1,
          .steps_skipped = 12345678901};
}
Fields example_fields() {
  Fields fields;
  for (auto const& [name, value] : to_fields(example())) fields.emplace_back(name, value);
  return fields;
}
}  // namespace

TEST_CASE("the scaler's state survives its fields exactly and in any order") {
  Fields fields = example_fields();
  for (std::size_t i = 0; i < fields.size(); ++i) {
    ScalerState const state = scaler_state_from_fields(fields);
    CHECK(state.scale == example().scale);
    CHECK(state.growth_tracker == example().growth_tracker);
    CHECK(state.hysteresis_left == example().hysteresis_left);
    CHECK(state.found_inf == example().found_inf);
    CHECK(state.steps_taken == example().steps_taken);
    CHECK(state.steps_skipped == example().steps_skipped);
    std::swap(fields.front(), fields[i]);
  }
  CHECK(scaler_state_from_fields(to_fields(ScalerState{})).scale == 1.0f);
}

TEST_CASE("a missing, unknown or repeated field of the scaler's state is refused by name") {
  for (std::size_t i = 0; i < scaler_field_count; ++i) {
    Fields fields = example_fields();
    std::string const name = fields[i].first;
    fields.erase(fields.begin() + static_cast<std::ptrdiff_t>(i));
    CHECK_THROWS_WITH_AS(scaler_state_from_fields(fields), doctest::Contains(("\"" + name + "\" is missing").c_str()),
                         Error);
  }
  Fields fields = example_fields();
  fields.emplace_back("scales", 1.0);
  CHECK_THROWS_WITH_AS(scaler_state_from_fields(fields), doctest::Contains("\"scales\" is unknown"), Error);
  fields.back() = {"scale", 1.0};
  CHECK_THROWS_WITH_AS(scaler_state_from_fields(fields), doctest::Contains("\"scale\" is given twice"), Error);
}

TEST_CASE("a value that no scaler's state has is refused with its field") {
  double const nan = std::numeric_limits<double>::quiet_NaN(), inf = std::numeric_limits<double>::infinity();
  std::vector<std::vector<double>> const bad = {{0.0, -1.0, nan, inf, 1e39, 1e-50, 0.1},
                                                {-1.0, 0.5, nan, inf, 3e9},
                                                {-1.0, 0.5, nan, inf, 3e9},
                                                {-1.0, 0.5, nan, 2.0},
                                                {-1.0, 0.5, nan, inf, 1e17},
                                                {-1.0, 0.5, nan, inf, 1e17}};
  for (std::size_t i = 0; i < bad.size(); ++i) {
    for (double const value : bad[i]) {
      Fields fields = example_fields();
      fields[i].second = value;
      CAPTURE(value);
      CHECK_THROWS_WITH_AS(scaler_state_from_fields(fields),
                           doctest::Contains(("\"" + fields[i].first + "\" is ").c_str()), Error);
    }
  }
}
