// SPDX-License-Identifier: Apache-2.0
// Single numbers that stand for a whole run.
#pragma once

#include <algorithm>
#include <cstddef>
#include <span>
#include <vector>

namespace support {

/// The middle one of the steps' times; the first step makes the backend's kernels ready and does not count.
inline double median_step(std::span<double const> milliseconds) {
  std::vector<double> times(milliseconds.begin() + (milliseconds.size() > 1 ? 1 : 0), milliseconds.end());
  if (times.empty()) return 0;
  auto const middle = times.begin() + static_cast<std::ptrdiff_t>(times.size() / 2);
  std::nth_element(times.begin(), middle, times.end());
  return *middle;
}

/// A single batch's loss says little: the mean over the last steps, a twentieth of the run.
inline double final_loss(std::span<double const> losses) {
  std::size_t const count = std::min(losses.size(), std::max<std::size_t>(1, losses.size() / 20));
  double sum = 0;
  for (double const loss : losses.last(count)) sum += loss;
  return count > 0 ? sum / static_cast<double>(count) : 0;
}

inline double last(std::span<double const> values) { return values.empty() ? 0 : values.back(); }

inline double mebibytes(std::size_t bytes) { return static_cast<double>(bytes) / (1 << 20); }

}  // namespace support
