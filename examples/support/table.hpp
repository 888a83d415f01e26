// SPDX-License-Identifier: Apache-2.0
// A small table of text: one column for each run, one row for each metric.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdio>
#include <span>
#include <string>
#include <vector>

namespace support {

/// A row; the unit stands behind the last column, so that a row is easy to read for a program too.
struct TableRow {
  std::string metric;
  std::vector<std::string> cells;
  std::string unit{};
};

inline std::string formatted(char const* format, double value) {
  char text[48];
  std::snprintf(text, sizeof text, format, value);
  return text;
}

/// Lines "metric | cell | cell", below a head and a rule.
inline std::string to_table(std::vector<std::string> const& columns, std::span<TableRow const> rows) {
  std::size_t first = 13, other = 6;
  for (TableRow const& row : rows) first = std::max(first, row.metric.size());
  for (std::string const& column : columns) other = std::max(other, column.size());
  auto const padded = [](std::string text, std::size_t width) {
    if (text.size() < width) text.append(width - text.size(), ' ');
    return text;
  };
  std::string table = padded("metric", first), rule(first, '-');
  for (std::string const& column : columns) {
    table += " | " + padded(column, other);
    rule += " | " + std::string(other, '-');
  }
  table += "\n" + rule + "\n";
  for (TableRow const& row : rows) {
    table += padded(row.metric, first);
    for (std::string const& cell : row.cells) table += " | " + padded(cell, other);
    table += row.unit + "\n";
  }
  return table;
}

}  // namespace support
