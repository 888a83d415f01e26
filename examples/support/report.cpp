// SPDX-License-Identifier: Apache-2.0
// Table, picture and JSON file of the quickstart, in a file of its own so that the training code does not pay for the
// libraries.
#include "report.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "chart.hpp"
#include "output.hpp"
#include "statistics.hpp"
#include "table.hpp"

namespace quickstart {
namespace {

using support::Colour, support::Curve, support::Picture, support::Ticks;

constexpr Colour right{20, 130, 60}, wrong{200, 40, 40};

Colour colour_of(Run const& run) { return run.column == "fp32" ? Colour{40, 90, 190} : Colour{225, 120, 20}; }

double accuracy_of(Run const& run) { return run.accuracies.empty() ? 0 : run.accuracies.back(); }

void draw_samples(Picture& picture, int left, int top, Report const& report) {
  Samples const& samples = report.samples;
  Run const& run = report.runs.back();
  constexpr int columns = 6, size = 112, cell_width = 236, cell_height = 172;
  picture.text(left + 10, top, "test images: prediction of " + run.policy + " (green: right, red: wrong), truth below",
               support::ink);
  std::size_t const bytes = static_cast<std::size_t>(samples.height) * static_cast<std::size_t>(samples.width);
  for (std::size_t i = 0; i < samples.labels.size(); ++i) {
    int const x = left + 10 + static_cast<int>(i) % columns * cell_width;
    int const y = top + 30 + static_cast<int>(i) / columns * cell_height;
    auto const name = [&](int label) { return samples.class_names[static_cast<std::size_t>(label)]; };
    int const prediction = run.predictions[i], truth = samples.labels[i];
    auto const first = samples.pixels.begin() + static_cast<std::ptrdiff_t>(i * bytes);
    picture.image({y, x, size, size},
                  {samples.height, samples.width, 1, {first, first + static_cast<std::ptrdiff_t>(bytes)}});
    picture.text(x, y + size + 6, name(prediction), prediction == truth ? right : wrong);
    picture.text(x, y + size + 26, name(truth), support::grey);
  }
}

}  // namespace

std::string to_table(Report const& report) {
  struct Metric {
    char const *name, *format, *unit;
    double (*value)(Run const&);
  };
  Metric const metrics[] = {
      {"test accuracy", "%.4f", "", [](Run const& run) { return accuracy_of(run); }},
      {"final loss", "%.4f", "", [](Run const& run) { return support::final_loss(run.losses); }},
      {"time per step", "%.4g", " ms (median)",
       [](Run const& run) { return support::median_step(run.step_milliseconds); }},
      {"peak memory", "%.4g", " MiB", [](Run const& run) { return support::mebibytes(run.peak_bytes); }},
      {"skipped steps", "%.0f", "", [](Run const& run) { return static_cast<double>(run.skipped); }},
      {"final scale", "%.6g", "", [](Run const& run) { return support::last(run.scales); }},
  };
  std::vector<std::string> columns;
  for (Run const& run : report.runs) columns.push_back(run.column);
  std::vector<support::TableRow> rows;
  for (Metric const& metric : metrics) {
    support::TableRow& row = rows.emplace_back(support::TableRow{metric.name, {}, metric.unit});
    for (Run const& run : report.runs) row.cells.push_back(support::formatted(metric.format, metric.value(run)));
  }
  std::string table = support::to_table(columns, rows);
  if (!report.note.empty()) table += report.note + "\n";
  return table;
}

void write_picture(Report const& report, std::string const& path) {
  Picture picture(1436, 976);
  std::vector<Curve> losses, scales;
  for (Run const& run : report.runs) {
    losses.push_back({run.policy, colour_of(run), support::smoothed(run.losses)});
    scales.push_back({run.policy, colour_of(run), run.scales});
  }
  support::draw_chart(picture, {10, 16, 850, 390}, "training loss (smoothed)", Ticks::decimal, losses);
  support::draw_chart(picture, {880, 16, 546, 390}, "loss scale", Ticks::binary, scales);
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
                            {"final_loss", support::final_loss(run.losses)},
                            {"time_per_step_ms", support::median_step(run.step_milliseconds)},
                            {"peak_memory_bytes", run.peak_bytes},
                            {"skipped_steps", run.skipped},
                            {"final_scale", support::last(run.scales)},
                            {"epoch_accuracies", run.accuracies},
                            {"losses", run.losses},
                            {"scales", run.scales}});
  }
  support::write_text(path, "JSON", json.dump(1) + "\n");
}

}  // namespace quickstart
