// SPDX-License-Identifier: Apache-2.0
// Progress of a training run: a bar that redraws itself on a terminal, a plain line now and then elsewhere.
#pragma once

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <string>
#include <utility>

namespace quickstart {

/// What a line of progress shows.
struct ProgressState {
  int epoch = 0;            // from 1
  double loss = 0;          // of the last step
  double accuracy = -1;     // on the test images after the last epoch; negative before the first
  double scale = 1;         // the loss scale
  std::int64_t images = 0;  // trained on so far
  double seconds = 0;       // spent on training steps so far
};

/// Reports `steps` steps of `epochs` epochs on standard output.
class Progress {
 public:
  Progress(std::string name, int epochs, std::int64_t steps)
      : name_(std::move(name)), epochs_(epochs), steps_(steps), terminal_(::isatty(STDOUT_FILENO) == 1) {}
  Progress(Progress const&) = delete;
  Progress& operator=(Progress const&) = delete;
  // An exception must not leave its message behind half a bar.
  ~Progress() {
    if (drawn_) end_line();
  }

  void step(std::int64_t step, ProgressState const& state) {
    Clock::time_point const now = Clock::now();
    if (now - shown_ < (terminal_ ? std::chrono::milliseconds(100) : std::chrono::seconds(5))) return;
    show(step, state, now);
  }
  /// The line of an epoch, which stays.
  void epoch(std::int64_t step, ProgressState const& state) {
    show(step, state, Clock::now());
    if (terminal_) end_line();
  }

 private:
  using Clock = std::chrono::steady_clock;

  void show(std::int64_t step, ProgressState const& state, Clock::time_point now) {
    double const rate = state.seconds > 0 ? static_cast<double>(state.images) / state.seconds : 0;
    char numbers[160], accuracy[32] = "";
    if (state.accuracy >= 0) std::snprintf(accuracy, sizeof accuracy, "  test accuracy %.4f", state.accuracy);
    std::snprintf(numbers, sizeof numbers, "epoch %d/%d  loss %.4f%s  scale %.6g  %.0f images/s", state.epoch, epochs_,
                  state.loss, accuracy, state.scale, rate);
    std::string line = name_ + "  ";
    if (terminal_) {
      constexpr int cells = 20;
      int const full = static_cast<int>(cells * step / std::max<std::int64_t>(1, steps_));
      line += "[" + std::string(static_cast<std::size_t>(full), '#') +
              std::string(static_cast<std::size_t>(cells - full), '-') + "]  ";
    } else {
      line += "step " + std::to_string(step) + "/" + std::to_string(steps_) + "  ";
    }
    line += numbers;
    if (terminal_) {
      // A line that wraps could not be drawn over.
      winsize window{};
      std::size_t const columns =
          ::ioctl(STDOUT_FILENO, TIOCGWINSZ, &window) == 0 && window.ws_col > 0 ? window.ws_col : 80;
      if (line.size() >= columns) line.resize(columns - 1);
      std::printf("\r\033[K%s", line.c_str());
      drawn_ = true;
    } else {
      std::printf("%s\n", line.c_str());
    }
    std::fflush(stdout);
    shown_ = now;
  }
  void end_line() {
    std::printf("\n");
    drawn_ = false;
  }

  std::string name_;
  int epochs_;
  std::int64_t steps_;
  bool terminal_, drawn_ = false;
  Clock::time_point shown_ = Clock::now();
};

}  // namespace quickstart
