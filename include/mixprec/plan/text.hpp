// SPDX-License-Identifier: Apache-2.0
// Precision plans as text and as Markdown. Apart from plan.hpp, so that a program that asserts and does not print does
// not pay for strings.
#pragma once

#include <algorithm>  // std::max
#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>  // std::pair
#include <vector>

#include <mixprec/plan/plan.hpp>

namespace mixprec::inline MIXPREC_ABI {

namespace detail {

// Numbers are put together from integers: printf and streams write what the locale says, and a plan that is compared
// with a file must read the same everywhere.
inline std::string thousandths(std::int64_t value) {
  std::string digits = std::to_string(value);
  if (digits.size() < 4) digits.insert(0, 4 - digits.size(), '0');
  return digits.insert(digits.size() - 3, 1, '.');
}
inline std::string megaflops(double flops) { return thousandths(static_cast<std::int64_t>(flops / 1e3 + 0.5)); }
inline std::string kibibytes(std::int64_t bytes) { return thousandths((bytes * 1000 + 512) / 1024); }

/// One line of a plan's table, as cells.
using PlanCells = std::array<std::string, 8>;
inline constexpr int plan_first_number = 6;  // from this column on, cells are numbers and stand on the right

inline PlanCells plan_heading() {
  return {"path", "op", "operand -> result", "sums", "casts", "extents", "MFLOP", "kept KiB"};
}

inline std::string casts_text(int folded, int launched) {
  std::string text;
  if (folded > 0) text = "folded " + std::to_string(folded);
  if (launched > 0) text += (text.empty() ? "launched " : ", launched ") + std::to_string(launched);
  return text;
}

inline PlanCells plan_cells(PlanRow const& row, nn::Path const& path) {
  Precision const& precision = row.precision;
  std::string dtypes = name_of(precision.operand);
  if (precision.result != precision.operand) dtypes += std::string(" -> ") + name_of(precision.result);
  std::string extents = "(";
  for (int axis = 0; axis < row.rank && axis < 4; ++axis) {
    extents += (axis > 0 ? ", " : "") + std::to_string(row.extents[axis]);
  }
  return {path.view().empty() ? "(model)" : std::string(path.view()),
          row.op,
          dtypes,
          precision.accumulator != precision.result && !row.materialized_cast ? name_of(precision.accumulator) : "",
          casts_text(row.folded_casts, row.materialized_cast ? 1 : 0),
          extents + ")",
          megaflops(row.flops),
          kibibytes(row.kept_bytes)};
}

template <int Rows, int Modules>
std::vector<PlanCells> plan_table(Plan<Rows, Modules> const& plan) {
  std::vector<PlanCells> table{plan_heading()};
  for (int at = 0; at < Rows; ++at) table.push_back(plan_cells(plan.row[at], plan.path_of(plan.row[at])));
  table.push_back({"total", std::to_string(Rows) + " ops", "", "",
                   casts_text(plan.folded_casts(), plan.materialized_casts()), "", megaflops(plan.flops()),
                   kibibytes(plan.kept_bytes())});
  return table;
}

/// The memory of a training step; the peak is the sum of the lines above it, the cap is not part of it.
inline std::vector<std::pair<std::string, std::string>> memory_table(PlanMemory const& memory, std::size_t peak) {
  return {{"memory of a training step", "KiB"},
          {"parameters", kibibytes(memory.parameters)},
          {"working copies", kibibytes(memory.working_copies)},
          {"gradients", kibibytes(memory.gradients)},
          {"optimizer state", kibibytes(memory.optimizer_state)},
          {"buffers", kibibytes(memory.buffers)},
          {"inputs", kibibytes(memory.inputs)},
          {"kept activations", kibibytes(memory.kept)},
          {"largest transient", kibibytes(memory.transient)},
          {"peak", kibibytes(static_cast<std::int64_t>(peak))},
          {"workspace cap, not in the peak", kibibytes(memory.workspace_cap)}};
}

inline std::string padded(std::string const& cell, std::size_t width, bool right) {
  std::string const gap(width - std::min(width, cell.size()), ' ');
  return right ? gap + cell : cell + gap;
}

inline void append_line(std::string& text, std::string line) {
  line.erase(line.find_last_not_of(' ') + 1);
  text += line + "\n";
}

}  // namespace detail

/// The plan as lines of aligned columns: one for each op, the totals, then the memory of a training step. The same plan
/// gives the same bytes everywhere, so that the text can be kept in a file and compared.
template <int Rows, int Modules>
std::string to_text(Plan<Rows, Modules> const& plan) {
  std::vector<detail::PlanCells> const table = detail::plan_table(plan);
  std::array<std::size_t, std::tuple_size_v<detail::PlanCells>> widths{};
  for (detail::PlanCells const& cells : table)
    for (std::size_t column = 0; column < cells.size(); ++column)
      widths[column] = std::max(widths[column], cells[column].size());

  std::string text = std::string("policy ") + plan.policy + "\n\n";
  for (detail::PlanCells const& cells : table) {
    std::string line;
    for (std::size_t column = 0; column < cells.size(); ++column) {
      if (column > 0) line += "  ";
      line += detail::padded(cells[column], widths[column], column >= detail::plan_first_number);
    }
    detail::append_line(text, line);
  }

  text += "\n";
  auto const memory = detail::memory_table(plan.memory, plan.peak_bytes());
  std::size_t left = 0, right = 0;
  for (auto const& [name, value] : memory) left = std::max(left, name.size()), right = std::max(right, value.size());
  for (auto const& [name, value] : memory) {
    detail::append_line(text, detail::padded(name, left, false) + "  " + detail::padded(value, right, true));
  }
  return text;
}

/// The plan as two Markdown tables: ops with totals, and memory.
template <int Rows, int Modules>
std::string to_markdown(Plan<Rows, Modules> const& plan) {
  std::string text = std::string("Policy: `") + plan.policy + "`\n\n";
  bool heading = true;
  for (detail::PlanCells const& cells : detail::plan_table(plan)) {
    for (std::string const& cell : cells) text += "| " + cell + (cell.empty() ? "" : " ");
    text += "|\n";
    if (heading) text += "|---|---|---|---|---|---|---:|---:|\n";
    heading = false;
  }
  text += "\n";
  heading = true;
  for (auto const& [name, value] : detail::memory_table(plan.memory, plan.peak_bytes())) {
    text += "| " + name + " | " + value + " |\n";
    if (heading) text += "|---|---:|\n";
    heading = false;
  }
  return text;
}

}  // namespace mixprec::inline MIXPREC_ABI
