// SPDX-License-Identifier: Apache-2.0
// Progress of a training run: a bar that redraws itself on a terminal, a plain line now and then elsewhere.
#pragma once

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <string>
#include <utility>

namespace support {

/// What a line of progress shows.
struct ProgressState {
  int epoch = 0;             // from 1
  double loss = 0;           // of the last step
  double metric = -1;        // after the last epoch that was evaluated; negative before the first
  double scale = 1;          // the loss scale
  std::int64_t images = 0;   // trained on so far
  double seconds = 0;        // spent on training steps so far
  std::int64_t skipped = 0;  // steps that the scaler skipped; shown where there are some
  std::size_t bytes = 0;     // peak memory; 0 is not shown
};

/// Reports `steps` steps of `epochs` epochs on standard output; `metric` names what a state's metric is.
class Progress {
 public:
  Progress(std::string name, std::string metric, int epochs, std::int64_t steps)
      : name_(std::move(name)),
        metric_(std::move(metric)),
        epochs_(epochs),
        steps_(steps),
        terminal_(::isatty(STDOUT_FILENO) == 1) {}
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
    char numbers[200], metric[64] = "", skipped[32] = "", memory[32] = "";
    if (state.metric >= 0) std::snprintf(metric, sizeof metric, "  %s %.4f", metric_.c_str(), state.metric);
    if (state.skipped > 0)
      std::snprintf(skipped, sizeof skipped, ", %lld skipped", static_cast<long long>(state.skipped));
    if (state.bytes > 0)
      std::snprintf(memory, sizeof memory, "  %.0f MiB", static_cast<double>(state.bytes) / (1 << 20));
    std::snprintf(numbers, sizeof numbers, "epoch %d/%d  loss %.4f%s  scale %.6g%s  %.0f images/s%s", state.epoch,
                  epochs_, state.loss, metric, state.scale, skipped, rate, memory);
    std::string line = name_ + "  ";
    if (terminal_) {
      constexpr int cells = 20;
      int const full = static_cast<int>(cells * step / std::max<std::int64_t>(1, steps_));
      line.append(1, '[')
          .append(static_cast<std::size_t>(full), '#')
          .append(static_cast<std::size_t>(cells - full), '-');
      line += "]  ";
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

  std::string name_, metric_;
  int epochs_;
  std::int64_t steps_;
  bool terminal_, drawn_ = false;
  Clock::time_point shown_ = Clock::now();
};

}  // namespace support
