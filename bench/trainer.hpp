// SPDX-License-Identifier: Apache-2.0
// One training step, scaler and optimizer included, timed and reported with the keys of the programs in bench/peers.
#pragma once

#include <iostream>
#include <memory>
#include <random>
#include <string>
#include <utility>  // std::declval
#include <vector>

#include "machine.hpp"
#include "report.hpp"
#include "serve.hpp"

namespace bench {

/// What every training program can be told.
struct TrainerOptions : RunOptions {
  std::string scale;
  bool graph = true, profile = false, from_host = false;

  explicit TrainerOptions(Arguments& arguments, RunDefaults const& defaults) : RunOptions(arguments, defaults) {
    scale = arguments.text("scale", "dynamic");
    from_host = arguments.number("from-host", 0) != 0;
    graph = arguments.number("graph", 1) != 0;
    profile = arguments.number("profile", 0) != 0;
  }
};

/// A network in training on four random batches that take turns. `Task` says what is trained:
/// - `Net`, `Loss` (net, images, labels) -> scalar Value, `learning_rate`
/// - `images()` and `labels()`, the extents of a batch, and `draw(generator, pixels, labels)`, its values
/// - `planned_bytes<Policy>()`, the plan's peak at these extents, 0 where the compiler made none
/// - `describe(line, model, images, labels)`, its own keys of the report
template <class Task, class Policy, class B, class Scaler>
class Trainer {
 public:
  Trainer(Task const& task, TrainerOptions const& options, Scaler const& scaler)
      : task_(task),
        options_(options),
        model_(static_cast<std::uint64_t>(options.seed)),
        data_(model_.stream()),
        optimizer_(model_, {.momentum = 0.9, .weight_decay = 5e-4}),
        step_(model_, optimizer_, scaler, mp::Constant{.lr = Task::learning_rate}, Loss{}, {.graph = options.graph}) {
    std::mt19937 generator(static_cast<std::mt19937::result_type>(options.seed));
    for (std::size_t i = 0; i < batches; ++i) {
      auto& pixels = pixels_.emplace_back(static_cast<std::size_t>(task.images().size()));
      auto& classes = classes_.emplace_back(static_cast<std::size_t>(task.labels().size()));
      task.draw(generator, pixels, classes);
      images_.emplace_back(data_, task.images());
      labels_.emplace_back(data_, task.labels());
      mp::copy_from_host(model_.stream(), images_.back(), pixels.data(), pixels.size());
      mp::copy_from_host(model_.stream(), labels_.back(), classes.data(), classes.size());
    }
  }

  void prepare() {
    std::int64_t const before = Machine<B>::memory_in_use();
    step();
    first_loss_ = step_.loss();
    for (std::int64_t i = 1; i < options_.warm_up; ++i) step();
    B::wait(model_.stream());
    memory_growth_ = Machine<B>::memory_in_use() - before;
  }

  std::vector<double> const& run(std::int64_t steps) {
    auto const begin = Clock::now();
    times_ = Machine<B>::timed(model_.stream(), steps, [&] { step(); });
    wall_ = milliseconds_since(begin) / static_cast<double>(steps);
    return times_;
  }

  /// Steps between cudaProfilerStart and cudaProfilerStop, with one wait, after the last of them.
  void run_for_profiler(std::int64_t steps) {
    Machine<B>::profile(true);
    for (std::int64_t i = 0; i < steps; ++i) step();
    B::wait(model_.stream());
    Machine<B>::profile(false);
  }

  std::string report() {
    auto const bytes = [](std::size_t count) { return static_cast<std::int64_t>(count); };
    mp::Arena<B> const &persistent = model_.session().arena(), &values = step_.arena();
    JsonLine line = begin_report<B>(options_, model_.stream(), times_, wall_);
    line.add("allocated_bytes", bytes(persistent.high_water() + values.high_water() + data_.high_water()))
        .add("reserved_bytes", bytes(persistent.reserved() + values.reserved() + data_.reserved()))
        .add("step_bytes", bytes(persistent.high_water() + values.high_water()));
    std::int64_t const planned = task_.template planned_bytes<Policy>();
    if (planned == 0) {
      line.null("plan_bytes");
    } else {
      line.add("plan_bytes", planned);
    }
    if constexpr (B::captures) line.add("memory_info_bytes", memory_growth_);
    add_parameters(line, model_.session());
    task_.describe(line, model_, images_[0], labels_[0]);
    line.add("loss_first", first_loss_, 4).add("loss_last", step_.loss(), 4);
    mp::StepResult const result = step_.result();
    line.add("scale", static_cast<double>(result.scale), 1).add("skipped", result.skipped);
    line.add("captures", std::int64_t{step_.captures()}).add("graph_note", step_.graph_note());
    return line.text();
  }

 private:
  static constexpr std::size_t batches = 4;
  using Model = mp::Model<typename Task::Net, Policy, B>;
  using Loss = typename Task::Loss;
  static constexpr int label_rank = decltype(std::declval<Task const&>().labels())::rank;

  void step() {
    std::size_t const at = taken_++ % batches;
    if (options_.from_host) {
      step_(mp::HostTensor{pixels_[at].data(), images_[at].shape()},
            mp::HostTensor{classes_[at].data(), labels_[at].shape()});
    } else {
      step_(images_[at], labels_[at]);
    }
  }

  Task const& task_;
  TrainerOptions const& options_;
  Model model_;
  mp::Arena<B> data_;  // apart from the model's, so that the plan can be held against the model's
  mp::Sgd<Model> optimizer_;
  mp::Step<Model, mp::Sgd<Model>, Scaler, Loss> step_;
  std::vector<std::vector<float>> pixels_;
  std::vector<std::vector<std::int32_t>> classes_;
  std::vector<mp::Tensor<B, float, 4>> images_;
  std::vector<mp::Tensor<B, std::int32_t, label_rank>> labels_;
  std::vector<double> times_;
  std::size_t taken_ = 0;
  std::int64_t memory_growth_ = 0;
  double first_loss_ = 0, wall_ = 0;
};

/// Trains the task as the options say, and prints the report, or serves.
template <class Policy, class B, class Task, class Scaler>
void train(Task const& task, TrainerOptions const& options, Scaler const& scaler) {
  auto const trainer = std::make_unique<Trainer<Task, Policy, B, Scaler>>(task, options, scaler);
  trainer->prepare();
  if (options.serve) return serve(*trainer);
  trainer->run(options.steps);
  if (options.profile) trainer->run_for_profiler(options.steps);
  std::cout << trainer->report() << std::endl;
}

}  // namespace bench
