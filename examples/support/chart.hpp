// SPDX-License-Identifier: Apache-2.0
// A line chart over training steps, drawn into a picture.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdio>
#include <limits>
#include <string>
#include <vector>

#include "picture.hpp"

namespace support {

struct Curve {
  std::string name;
  Colour colour;
  std::vector<double> values;  // one a step; values that are not finite leave a gap
};

struct ChartBox {
  int x, y, width, height;
};

/// Exponential moving average: what a reader wants to see of a noisy loss.
inline std::vector<double> smoothed(std::vector<double> const& values) {
  double const keep = 1.0 - 1.0 / (1.0 + static_cast<double>(values.size()) / 100.0);
  std::vector<double> result;
  double sum = 0, weight = 0;
  for (double const value : values) {
    if (std::isfinite(value)) {
      sum = keep * sum + value;
      weight = keep * weight + 1;
    }
    result.push_back(weight > 0 ? sum / weight : value);
  }
  return result;
}

/// The axis of a chart's values: 1, 2, 5, 10 ... or powers of two.
enum class Ticks { decimal, binary };

namespace detail {

// Values at which the axis from `least` to `most` gets a line: at most nine.
inline std::vector<double> ticks_between(double least, double most, Ticks kind) {
  std::vector<double> ticks;
  if (kind == Ticks::binary) {
    int const first = static_cast<int>(std::ceil(std::log2(least))), last = static_cast<int>(std::log2(most));
    for (int power = first; power <= last; power += std::max(1, (last - first) / 8)) ticks.push_back(std::exp2(power));
    return ticks;
  }
  for (double decade = std::pow(10.0, std::floor(std::log10(least))); decade <= most; decade *= 10)
    for (double const factor : {1.0, 2.0, 5.0})
      if (factor * decade >= least && factor * decade <= most) ticks.push_back(factor * decade);
  if (ticks.size() > 9)
    std::erase_if(ticks, [](double tick) { return std::abs(std::log10(tick) - std::round(std::log10(tick))) > 1e-6; });
  if (ticks.size() < 2) ticks = {least, std::sqrt(least * most), most};
  return ticks;
}

inline std::string number(char const* format, double value) {
  char text[32];
  std::snprintf(text, sizeof text, format, value);
  return text;
}

}  // namespace detail

/// Draws `curves` against the step number on a logarithmic axis; values of 0 and below leave a gap.
inline void draw_chart(Picture& picture, ChartBox box, std::string const& title, Ticks kind,
                       std::vector<Curve> const& curves) {
  auto const drawable = [](double value) { return std::isfinite(value) && value > 0; };
  double least = std::numeric_limits<double>::infinity(), most = 0;
  std::size_t steps = 0;
  for (Curve const& curve : curves) {
    steps = std::max(steps, curve.values.size());
    for (double const value : curve.values) {
      if (!drawable(value)) continue;
      least = std::min(least, value);
      most = std::max(most, value);
    }
  }
  if (most == 0) least = most = 1;
  // Some room around the curves, and never an axis without extent.
  double const margin = kind == Ticks::binary ? 2.1 : std::max(1.02, std::pow(most / least, 0.05));
  least /= margin, most *= margin;

  int const left = box.x + 90, right = box.x + box.width - 10, top = box.y + 30, bottom = box.y + box.height - 34;
  double const last_step = std::max(1.0, static_cast<double>(steps) - 1);
  auto const x_of = [&](double step) { return left + (right - left) * step / last_step; };
  auto const y_of = [&](double value) {
    return bottom - (bottom - top) * std::log(value / least) / std::log(most / least);
  };

  picture.text(box.x + 10, box.y, title, ink);
  for (double const tick : detail::ticks_between(least, most, kind)) {
    int const y = static_cast<int>(std::lround(y_of(tick)));
    picture.fill(left, y, right - left, 1, faint);
    std::string const label = detail::number(kind == Ticks::binary ? "%.6g" : "%.3g", tick);
    picture.text(left - 8 - Picture::text_width(label), y - 7, label, grey);
  }
  constexpr int intervals = 4;
  for (int tick = 0; tick <= intervals; ++tick) {
    double const step = std::round(last_step * tick / intervals);
    std::string const label = detail::number("%.0f", step);
    int const x = static_cast<int>(std::lround(x_of(step))) - Picture::text_width(label) / 2;
    picture.text(std::min(x, right - Picture::text_width(label)), bottom + 10, label, grey);
  }
  picture.fill(left, bottom, right - left, 2, grey);
  picture.fill(left, top, 2, bottom - top, grey);

  int legend = right;
  for (Curve const& curve : curves) {
    legend -= Picture::text_width(curve.name) + 34;
    picture.fill(legend - 22, box.y + 5, 16, 5, curve.colour);
    picture.text(legend, box.y, curve.name, ink);
  }
  // The first curve is drawn broad, the last one thin, so that both are seen where they agree.
  int pen = 2 + 3 * static_cast<int>(curves.size());
  for (Curve const& curve : curves) {
    pen -= 3;
    for (std::size_t step = 0; step < curve.values.size(); ++step) {
      std::size_t const before = step > 0 && drawable(curve.values[step - 1]) ? step - 1 : step;
      if (!drawable(curve.values[step])) continue;
      picture.line(x_of(static_cast<double>(before)), y_of(curve.values[before]), x_of(static_cast<double>(step)),
                   y_of(curve.values[step]), pen, curve.colour);
    }
  }
}

}  // namespace support
