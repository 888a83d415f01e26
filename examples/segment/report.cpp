// SPDX-License-Identifier: Apache-2.0
// Table, pictures and JSON, in a file of its own so that the training code does not pay for the libraries.
#include "report.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <nlohmann/json.hpp>

#include "../support/chart.hpp"
#include "../support/output.hpp"
#include "../support/statistics.hpp"
#include "../support/table.hpp"
#include "evaluate.hpp"

namespace segment {
namespace {

namespace mp = mixprec;
using support::Colour, support::Curve, support::Picture, support::Ticks;

Colour colour_of(FinishedRun const& run) {
  return run.settings.policy == "fp32" ? Colour{40, 90, 190} : Colour{225, 120, 20};
}

double images_per_second(FinishedRun const& run) {
  auto const steps = static_cast<double>(run.result.history.losses.size()) - static_cast<double>(run.result.resumed_at);
  return run.result.train_seconds > 0 ? steps * run.settings.batch_size / run.result.train_seconds : 0;
}

// Hues a golden section apart, so that any first few of them differ.
Colour colour_of_class(int label) {
  double const hue = 6 * std::fmod(0.05 + label * 0.61803398875, 1.0);
  auto const channel = [&](double centre) {
    double const away = std::abs(std::fmod(hue - centre + 9, 6.0) - 3);
    return static_cast<std::uint8_t>(45 + 200 * std::clamp(2 - away, 0.0, 1.0) * (label % 2 == 0 ? 1.0 : 0.7));
  };
  return {channel(0), channel(2), channel(4)};
}

mp::Image coloured(mp::LabelMap const& labels) {
  mp::Image image{labels.height, labels.width, 3, {}};
  for (auto const label : labels.values) {
    Colour const colour = label == mp::ignored_label ? Colour{0, 0, 0} : colour_of_class(label);
    image.pixels.insert(image.pixels.end(), {colour.red, colour.green, colour.blue});
  }
  return image;
}

void write_sheet(FinishedRun const& run, DataSet const& data, std::string const& path) {
  constexpr int width = 320, gap = 10, head = 34, legend_columns = 4, legend_row = 24;
  auto const count = static_cast<std::int64_t>(run.result.samples.size());
  std::vector<int> heights;
  int height = head;
  for (std::int64_t i = 0; i < count; ++i) {
    mp::ImageExtent const extent = data.val.load(i).image.extent();
    heights.push_back(std::clamp(width * extent.height / extent.width, 16, 4 * width));
    height += heights.back() + gap;
  }
  int const classes = static_cast<int>(data.class_names.size());
  int const legend = height;
  height += legend_row * ((classes + 1 + legend_columns - 1) / legend_columns) + gap;

  Picture picture(3 * width + 4 * gap, height);
  int y = head;
  for (std::int64_t i = 0; i < count; ++i) {
    mp::SegmentationSample const& sample = data.val.load(i);
    int const cell = heights[static_cast<std::size_t>(i)];
    picture.image({y, gap, cell, width}, sample.image);
    picture.image({y, 2 * gap + width, cell, width}, coloured(sample.labels));
    picture.image({y, 3 * gap + 2 * width, cell, width}, coloured(run.result.samples[static_cast<std::size_t>(i)]));
    y += cell + gap;
  }
  std::array<std::string, 3> const titles{"image", "label", "prediction of " + run.settings.policy};
  for (int column = 0; column < 3; ++column)
    picture.text(gap + column * (width + gap), 10, titles[static_cast<std::size_t>(column)], support::ink);
  for (int label = 0; label <= classes; ++label) {
    int const x = gap + label % legend_columns * (picture.width() / legend_columns);
    int const top = legend + label / legend_columns * legend_row;
    picture.fill(x, top, 16, 16, label < classes ? colour_of_class(label) : Colour{0, 0, 0});
    picture.text(x + 24, top + 1,
                 label < classes ? data.class_names[static_cast<std::size_t>(label)] : std::string("does not count"),
                 support::ink);
  }
  picture.write_png(path);
}

// JSON has no NaN: what is not finite is null there.
nlohmann::ordered_json json_of(Evaluation const& evaluation, std::vector<std::string> const& names) {
  nlohmann::ordered_json classes;
  for (std::size_t c = 0; c < names.size(); ++c) classes[names[c]] = evaluation.class_iou[c];
  return {{"epoch", evaluation.epoch},       {"mean_iou", evaluation.mean_iou},
          {"accuracy", evaluation.accuracy}, {"mean_accuracy", evaluation.mean_accuracy},
          {"class_iou", std::move(classes)}, {"seconds", evaluation.seconds}};
}

nlohmann::ordered_json json_of(FinishedRun const& run, std::vector<std::string> const& names) {
  History const& history = run.result.history;
  nlohmann::ordered_json json;
  json["policy"] = run.settings.policy;
  json["scale"] = run.settings.scale;
  json["result"] = json_of(run.result.evaluation, names);
  json["final_loss"] = support::final_loss(history.losses);
  json["time_per_step_ms"] = support::median_step(history.milliseconds);
  json["images_per_second"] = images_per_second(run);
  json["train_seconds"] = run.result.train_seconds;
  json["peak_memory_bytes"] = history.peak_bytes;
  json["skipped_steps"] = history.skipped;
  json["final_scale"] = support::last(history.scales);
  json["resumed_at_step"] = run.result.resumed_at;
  json["graph_note"] = run.result.graph_note;
  for (Evaluation const& evaluation : history.evaluations) json["evaluations"].push_back(json_of(evaluation, names));
  auto const per_epoch = static_cast<std::size_t>(run.result.steps_per_epoch);
  for (std::size_t first = 0; first < history.losses.size(); first += per_epoch) {
    std::size_t const count = std::min(per_epoch, history.losses.size() - first);
    double sum = 0;
    for (std::size_t i = 0; i < count; ++i) sum += history.losses[first + i];
    json["epoch_losses"].push_back(sum / static_cast<double>(count));
  }
  // Rows are labels, columns predictions.
  auto const outputs = static_cast<std::size_t>(network_sizes().classes);
  auto const& confusion = run.result.evaluation.confusion;
  for (std::size_t label = 0; label < names.size(); ++label) {
    auto const row = confusion.begin() + static_cast<std::ptrdiff_t>(label * outputs);
    json["confusion"].push_back(std::vector(row, row + static_cast<std::ptrdiff_t>(outputs)));
  }
  json["losses"] = history.losses;
  json["scales"] = history.scales;
  return json;
}

}  // namespace

std::string to_table(std::vector<FinishedRun> const& runs, DataSet const& data) {
  std::vector<std::string> columns;
  for (FinishedRun const& run : runs) columns.push_back(run.settings.policy);
  std::vector<support::TableRow> rows;
  auto const row = [&](std::string const& metric, char const* format, char const* unit, auto const& value) {
    support::TableRow& made = rows.emplace_back(support::TableRow{metric, {}, unit});
    for (FinishedRun const& run : runs) made.cells.push_back(support::formatted(format, value(run)));
  };
  auto const history = [](auto const& value) {
    return [value](FinishedRun const& run) { return value(run.result.history); };
  };
  row("mIoU", "%.4f", "", [](FinishedRun const& run) { return run.result.evaluation.mean_iou; });
  row("accuracy", "%.4f", "", [](FinishedRun const& run) { return run.result.evaluation.accuracy; });
  row("mean accuracy", "%.4f", "", [](FinishedRun const& run) { return run.result.evaluation.mean_accuracy; });
  row("final loss", "%.4f", "", history([](History const& h) { return support::final_loss(h.losses); }));
  row("time per step", "%.4g", " ms (median)",
      history([](History const& h) { return support::median_step(h.milliseconds); }));
  row("with data", "%.4g", " images/s", images_per_second);
  row("peak memory", "%.4g", " MiB", history([](History const& h) { return support::mebibytes(h.peak_bytes); }));
  row("skipped steps", "%.0f", "", history([](History const& h) { return static_cast<double>(h.skipped); }));
  row("final scale", "%.6g", "", history([](History const& h) { return support::last(h.scales); }));
  for (std::size_t c = 0; c < data.class_names.size(); ++c)
    row("IoU " + data.class_names[c], "%.4f", "",
        [&](FinishedRun const& run) { return run.result.evaluation.class_iou[c]; });
  return support::to_table(columns, rows);
}

void write_pictures(std::vector<FinishedRun> const& runs, DataSet const& data) {
  Picture picture(1436, 424);
  std::vector<Curve> losses, scales, means;
  for (FinishedRun const& run : runs) {
    History const& history = run.result.history;
    losses.push_back({run.settings.policy, colour_of(run), support::smoothed(history.losses)});
    scales.push_back({run.settings.policy, colour_of(run), history.scales});
    Curve& mean = means.emplace_back(Curve{run.settings.policy, colour_of(run), {}});
    for (Evaluation const& evaluation : history.evaluations) mean.values.push_back(evaluation.mean_iou);
  }
  support::draw_chart(picture, {10, 16, 560, 390}, "training loss (smoothed)", Ticks::decimal, losses);
  support::draw_chart(picture, {580, 16, 420, 390}, "loss scale", Ticks::binary, scales);
  support::draw_chart(picture, {1010, 16, 416, 390}, "mIoU", Ticks::decimal, means);
  picture.write_png(runs.front().settings.output + "/curves.png");
  for (FinishedRun const& run : runs)
    write_sheet(run, data, run.settings.output + "/" + run.settings.policy + ".sheet.png");
}

void write_json(std::vector<FinishedRun> const& runs, Options const& options, DataSet const& data,
                std::string const& device) {
  Settings const& settings = options.settings;
  NetworkSizes const sizes = network_sizes();
  nlohmann::ordered_json json;
  json["settings"] = {{"model", settings.model},
                      {"device", device},
                      {"data", data.source},
                      {"train_images", data.train.size()},
                      {"val_images", data.val.size()},
                      {"epochs", settings.epochs},
                      {"batch_size", settings.batch_size},
                      {"seed", settings.seed},
                      {"learning_rate", settings.learning_rate},
                      {"power", settings.power},
                      {"warmup", settings.warmup},
                      {"momentum", settings.momentum},
                      {"weight_decay", settings.weight_decay},
                      {"crop", to_text(settings.crop)},
                      {"tf32", settings.tf32},
                      {"evaluation", settings.slide ? "slide" : "whole"},
                      {"test_scales", settings.test_scales},
                      {"depth", sizes.depth},
                      {"backbone_width", sizes.backbone_width},
                      {"head_width", sizes.head_width},
                      {"output_stride", sizes.output_stride}};
  for (FinishedRun const& run : runs) json["runs"].push_back(json_of(run, data.class_names));
  support::write_text(settings.output + "/result.json", "JSON", json.dump(1) + "\n");
}

}  // namespace segment
