// SPDX-License-Identifier: Apache-2.0
// Table, picture and JSON file of the quickstart, in a file of its own so that the training code does not pay for the
// libraries.
#include "report.hpp"

#include <sys/stat.h>

#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <span>

#include "chart.hpp"
#include "picture.hpp"

namespace quickstart {
namespace {

constexpr Colour right{20, 130, 60}, wrong{200, 40, 40};

Colour colour_of(Run const& run) { return run.column == "fp32" ? Colour{40, 90, 190} : Colour{225, 120, 20}; }

std::string print(char const* format, double value) {
  char text[48];
  std::snprintf(text, sizeof text, format, value);
  return text;
}

double median_step(Run const& run) {
  // The first step makes the backend's kernels ready.
  std::vector<double> times(run.step_milliseconds.begin() + (run.step_milliseconds.size() > 1 ? 1 : 0),
                            run.step_milliseconds.end());
  if (times.empty()) return 0;
  auto const middle = times.begin() + static_cast<std::ptrdiff_t>(times.size() / 2);
  std::nth_element(times.begin(), middle, times.end());
  return *middle;
}

double accuracy_of(Run const& run) { return run.accuracies.empty() ? 0 : run.accuracies.back(); }
double last(std::vector<double> const& values) { return values.empty() ? 0 : values.back(); }

// A single batch's loss says little: the mean over the last steps, a twentieth of the run.
double final_loss(Run const& run) {
  std::size_t const count = std::min(run.losses.size(), std::max<std::size_t>(1, run.losses.size() / 20));
  double sum = 0;
  for (double const loss : std::span(run.losses).last(count)) sum += loss;
  return count > 0 ? sum / static_cast<double>(count) : 0;
}

double mebibytes(std::size_t bytes) { return static_cast<double>(bytes) / (1 << 20); }

void draw_samples(Picture& picture, int left, int top, Report const& report) {
  Samples const& samples = report.samples;
  Run const& run = report.runs.back();
  constexpr int columns = 6, size = 112, cell_width = 236, cell_height = 172;
  picture.text(left + 10, top, "test images: prediction of " + run.policy + " (green: right, red: wrong), truth below",
               ink);
  std::size_t const bytes = static_cast<std::size_t>(samples.height) * static_cast<std::size_t>(samples.width);
  for (std::size_t i = 0; i < samples.labels.size(); ++i) {
    int const x = left + 10 + static_cast<int>(i) % columns * cell_width;
    int const y = top + 30 + static_cast<int>(i) / columns * cell_height;
    auto const name = [&](int label) { return samples.class_names[static_cast<std::size_t>(label)]; };
    int const prediction = run.predictions[i], truth = samples.labels[i];
    picture.image(x, y, size, std::span(samples.pixels).subspan(i * bytes, bytes), samples.height, samples.width);
    picture.text(x, y + size + 6, name(prediction), prediction == truth ? right : wrong);
    picture.text(x, y + size + 26, name(truth), grey);
  }
}

}  // namespace

void check_writable(std::string const& path) {
  // The finished file takes the place of what is there, which must not happen to a directory or a device.
  struct stat status {};
  if (::stat(path.c_str(), &status) == 0 && !S_ISREG(status.st_mode)) {
    throw mixprec::Error("output file '" + path + "': is a directory or a device. Give the name of a file.");
  }
  mixprec::AtomicFile probe(path, "output");
}

std::string to_table(Report const& report) {
  struct Row {
    char const *metric, *format, *unit;
    double (*value)(Run const&);
  };
  // Units stand behind the last column, so that a row of the table is easy to read for a program too.
  Row const rows[] = {
      {"test accuracy", "%.4f", "", [](Run const& run) { return accuracy_of(run); }},
      {"final loss", "%.4f", "", [](Run const& run) { return final_loss(run); }},
      {"time per step", "%.4g", " ms (median)", [](Run const& run) { return median_step(run); }},
      {"peak memory", "%.4g", " MiB", [](Run const& run) { return mebibytes(run.peak_bytes); }},
      {"skipped steps", "%.0f", "", [](Run const& run) { return static_cast<double>(run.skipped); }},
      {"final scale", "%.6g", "", [](Run const& run) { return last(run.scales); }},
  };
  char line[160];
  auto const cell = [&](char const* format, auto value) {
    std::snprintf(line, sizeof line, format, value);
    return std::string(line);
  };
  std::string table = cell("%-13s", "metric"), rule(13, '-');
  for (Run const& run : report.runs) {
    table += cell(" | %-6s", run.column.c_str());
    rule += " | ------";
  }
  table += "\n" + rule + "\n";
  for (Row const& row : rows) {
    table += cell("%-13s", row.metric);
    for (Run const& run : report.runs) table += cell(" | %-6s", print(row.format, row.value(run)).c_str());
    table += std::string(row.unit) + "\n";
  }
  if (!report.note.empty()) table += report.note + "\n";
  return table;
}

void write_picture(Report const& report, std::string const& path) {
  Picture picture(1436, 976);
  std::vector<Curve> losses, scales;
  for (Run const& run : report.runs) {
    losses.push_back({run.policy, colour_of(run), smoothed(run.losses)});
    scales.push_back({run.policy, colour_of(run), run.scales});
  }
  draw_chart(picture, {10, 16, 850, 390}, "training loss (smoothed)", Ticks::decimal, losses);
  draw_chart(picture, {880, 16, 546, 390}, "loss scale", Ticks::binary, scales);
  draw_samples(picture, 10, 424, report);
  picture.write_png(path);
}

void write_json(Report const& report, Options const& options, std::string const& path) {
  nlohmann::ordered_json json;
  json["settings"] = {{"data", options.data.empty() ? "drawn" : options.data},
                      {"backend", options.backend == Backend::cuda ? "cuda" : "cpu"},
                      {"epochs", options.epochs},
                      {"batch", options.batch},
                      {"seed", options.seed},
                      {"learning_rate", options.learning_rate},
                      {"train_images", options.train_images}};
  json["note"] = report.note;
  for (Run const& run : report.runs) {
    json["runs"].push_back({{"column", run.column},
                            {"policy", run.policy},
                            {"scaler", run.scaler},
                            {"test_accuracy", accuracy_of(run)},
                            {"final_loss", final_loss(run)},
                            {"time_per_step_ms", median_step(run)},
                            {"peak_memory_bytes", run.peak_bytes},
                            {"skipped_steps", run.skipped},
                            {"final_scale", last(run.scales)},
                            {"epoch_accuracies", run.accuracies},
                            {"losses", run.losses},
                            {"scales", run.scales}});
  }
  std::string const text = json.dump(1) + "\n";
  mixprec::AtomicFile out(path, "JSON");
  out.write(std::as_bytes(std::span(text)));
  out.commit();
}

}  // namespace quickstart
