// SPDX-License-Identifier: Apache-2.0
// What a training loop reports and remembers.
#include "run_log.hpp"

#include <charconv>
#include <cstdio>

#include <mixprec/config.hpp>

namespace segment {
namespace {

// The shortest text that stands for this value and no other.
std::string exact(double value) {
  char text[40];
  return {text, std::to_chars(text, text + sizeof text, value).ptr};
}

std::string listed(std::vector<double> const& values) {
  std::string text;
  for (double const value : values) {
    if (!text.empty()) text += ' ';
    text += exact(value);
  }
  return text;
}

}  // namespace

RunLog::RunLog(RunRequest const& request, mixprec::ChannelStatistics const& statistics, std::int64_t steps_per_epoch)
    : settings_(request.settings),
      steps_per_epoch_(steps_per_epoch),
      progress_(request.settings.policy, "mIoU", request.settings.epochs, request.settings.epochs * steps_per_epoch) {
  Settings const& s = settings_;
  NetworkSizes const sizes = network_sizes();
  auto const text = [](auto value) { return std::to_string(value); };
  identity_ = {
      {"model", s.model + " on ResNet-" + text(sizes.depth) + ", width " + text(sizes.backbone_width) + " and " +
                    text(sizes.head_width) + ", stride " + text(sizes.output_stride) + ", " + text(sizes.classes) +
                    " outputs"},
      {"policy", s.policy},
      {"scale", s.scale},
      {"device", s.device},
      {"epochs", text(s.epochs)},
      {"batch-size", text(s.batch_size)},
      {"seed", text(s.seed)},
      {"lr", exact(s.learning_rate)},
      {"power", exact(s.power)},
      {"warmup", text(s.warmup)},
      {"momentum", exact(s.momentum)},
      {"weight-decay", exact(s.weight_decay)},
      {"crop", to_text(s.crop)},
      {"tf32", s.tf32 ? "on" : "off"},
      // Mean and deviation stand for the images themselves.
      {"data", text(request.data.train.size()) + " images, " + text(request.data.class_names.size()) +
                   " classes, mean " + listed(statistics.mean) + ", deviation " + listed(statistics.std)},
  };
}

RunLog::Notes RunLog::notes() const {
  Notes notes = identity_;
  notes["history"] = to_text(history_);
  return notes;
}

void RunLog::resume(Notes const& notes, std::vector<std::string> const& warnings, std::int64_t step) {
  for (std::string const& warning : warnings) std::fprintf(stderr, "segment: warning: %s\n", warning.c_str());
  auto const found = notes.find("history");
  history_ = history_from_text(found == notes.end() ? "" : found->second);
  if (steps() != step) {
    throw mixprec::Error("the checkpoint stands before step " + std::to_string(step) + ", but its history has " +
                         std::to_string(steps()) + " steps. Start without --resume.");
  }
  resumed_at_ = step;
  if (!history_.evaluations.empty()) state_.metric = history_.evaluations.back().mean_iou;
  std::printf("%s  resumed before step %lld\n", settings_.policy.c_str(), static_cast<long long>(step));
}

void RunLog::end_step(double loss, mixprec::StepResult const& result, std::size_t peak_bytes) {
  double const seconds = std::chrono::duration<double>(Clock::now() - begun_).count();
  history_.losses.push_back(loss);
  history_.scales.push_back(result.scale);
  history_.milliseconds.push_back(seconds * 1e3);
  history_.skipped = result.skipped;
  history_.peak_bytes = std::max(history_.peak_bytes, peak_bytes);
  state_.epoch = static_cast<int>((steps() - 1) / steps_per_epoch_) + 1;
  state_.loss = loss;
  state_.scale = result.scale;
  state_.skipped = result.skipped;
  state_.bytes = history_.peak_bytes;
  state_.images = (steps() - resumed_at_) * settings_.batch_size;
  // With the time that the loop waited for data.
  state_.seconds = std::chrono::duration<double>(Clock::now() - started_).count() - evaluation_seconds_;
  progress_.step(steps(), state_);
}

bool RunLog::checkpoint_due() const {
  return settings_.checkpoint_every > 0 &&
         (steps() % settings_.checkpoint_every == 0 || steps() == settings_.epochs * steps_per_epoch_);
}

bool RunLog::evaluation_due(std::int64_t done) const {
  return settings_.evaluate_every > 0 && done % settings_.evaluate_every == 0 && done < settings_.epochs;
}

void RunLog::evaluated(Evaluation evaluation, std::int64_t epochs_done) {
  evaluation.epoch = static_cast<int>(epochs_done);
  evaluation_seconds_ += evaluation.seconds;
  state_.metric = evaluation.mean_iou;
  history_.evaluations.push_back(std::move(evaluation));
}

void RunLog::end_epoch(std::int64_t done) {
  // On a long run without a terminal, a line now and then says enough.
  if (done == settings_.epochs || evaluation_due(done)) progress_.epoch(steps(), state_);
}

RunResult RunLog::result(std::vector<mixprec::LabelMap> samples, std::string graph_note) && {
  RunResult result;
  result.evaluation = history_.evaluations.back();
  result.history = std::move(history_);
  result.samples = std::move(samples);
  result.steps_per_epoch = steps_per_epoch_;
  result.resumed_at = resumed_at_;
  result.train_seconds = state_.seconds;
  result.graph_note = std::move(graph_note);
  return result;
}

}  // namespace segment
