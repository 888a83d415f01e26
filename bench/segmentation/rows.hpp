// SPDX-License-Identifier: Apache-2.0
// The rows of a recorded run against those of the compiler's plan.
#pragma once

#include <mixprec/plan/text.hpp>

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

namespace bench {

struct RowComparison {
  std::int64_t ran = 0;  // rows of the run
  std::string first;     // the first row that differs, as ran and as planned; empty where all are equal
};

/// Runs `forward`, a forward pass of `model` with its loss, and compares what it records.
template <class Plan, class Model, class Forward>
RowComparison compare_rows(Plan const& planned, Model& model, Forward const& forward) {
  auto& session = model.session();
  session.begin_step();
  session.start_recording();
  forward();
  std::vector<mixprec::PlanRow> const rows = session.stop_recording();
  session.clear_tape();
  auto const text = [](mixprec::PlanRow const& row, std::string const& path) {
    return path + " " + row.op + ", " + std::to_string(row.kept_bytes) + " bytes kept";
  };
  RowComparison result{static_cast<std::int64_t>(rows.size()), {}};
  for (int at = 0; at < std::max(planned.rows(), static_cast<int>(rows.size())) && result.first.empty(); ++at) {
    std::string ran = "nothing", expected = "nothing";
    bool const both = at < planned.rows() && at < static_cast<int>(rows.size());
    if (at < static_cast<int>(rows.size())) {
      mixprec::PlanRow const& row = rows[static_cast<std::size_t>(at)];
      ran = text(row, session.path_of(row.place, row.op));
    }
    if (at < planned.rows()) expected = text(planned.row[at], std::string(planned.path_of(planned.row[at]).view()));
    if (both && ran == expected && same_row(rows[static_cast<std::size_t>(at)], planned.row[at])) continue;
    result.first = "row " + std::to_string(at) + ": ran " + ran + "; planned " + expected;
  }
  return result;
}

}  // namespace bench
