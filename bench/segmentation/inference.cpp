// SPDX-License-Identifier: Apache-2.0
// Inference of one segmentation network under one policy, for the program of ../segmentation_inference.cpp: batch norms
// folded, classes at the images' resolution. segmentation/inference.cu is the same for CUDA.
#include <algorithm>
#include <cmath>
#include <iostream>
#include <memory>
#include <random>
#include <utility>  // std::declval
#include <vector>

#include "../report.hpp"
#include "../serve.hpp"
#include "network.hpp"
#include "subjects.hpp"

namespace {

namespace mp = mixprec;

/// An evaluated network on four random batches that take turns; images of float come in, classes as int32 go out.
template <class Policy, class B>
class Classifier {
 public:
  Classifier(bench::RunOptions const& options, mp::Shape<4> extents)
      : options_(options), inference_(network(options)), data_(inference_.stream()) {
    std::mt19937 generator(static_cast<std::mt19937::result_type>(options.seed));
    std::normal_distribution<float> pixel;
    std::vector<float> pixels(static_cast<std::size_t>(extents.size()));
    for (std::size_t i = 0; i < batches; ++i) {
      for (float& value : pixels) value = pixel(generator);
      images_.emplace_back(data_, extents);
      mp::copy_from_host(inference_.stream(), images_.back(), pixels.data(), pixels.size());
    }
  }

  void prepare() {
    std::int64_t const before = bench::Machine<B>::memory_in_use();
    for (std::int64_t i = 0; i < options_.warm_up; ++i) step();
    B::wait(inference_.stream());
    memory_growth_ = bench::Machine<B>::memory_in_use() - before;
  }

  std::vector<double> const& run(std::int64_t steps) {
    auto const begin = bench::Clock::now();
    times_ = bench::Machine<B>::timed(inference_.stream(), steps, [&] { step(); });
    wall_ = bench::milliseconds_since(begin) / static_cast<double>(steps);
    return times_;
  }

  std::string report() {
    mp::Arena<B> const& arena = inference_.session().arena();
    bench::JsonLine line = bench::begin_report<B>(options_, inference_.stream(), times_, wall_);
    line.add("images_per_second", 1e3 * static_cast<double>(options_.batch) / bench::median(times_), 2)
        .add("allocated_bytes", static_cast<std::int64_t>(arena.high_water() + data_.high_water()))
        .add("reserved_bytes", static_cast<std::int64_t>(arena.reserved() + data_.reserved()));
    if constexpr (B::captures) line.add("memory_info_bytes", memory_growth_);
    bench::add_parameters(line, inference_.session());
    line.add("folded_norms", static_cast<std::int64_t>(inference_.folded_norms().size()));
    bench::describe_network(line, images_[0].shape());
    line.add("classes_used", classes_used());
    return line.text();
  }

 private:
  static constexpr std::size_t batches = 4;
  using Model = mp::Model<bench::Segmenter, Policy, B>;
  using Inference = decltype(std::declval<Model&>().eval());

  // Weights under which running statistics of mean 0 and variance 1 are about right, so that no activation overflows:
  // He's initialisation, and a quarter of each residual branch. The model itself goes again.
  static Inference network(bench::RunOptions const& options) {
    Model model(static_cast<std::uint64_t>(options.seed));
    std::mt19937 generator(static_cast<std::mt19937::result_type>(options.seed));
    for (std::string const& name : model.names()) {
      std::vector<std::int64_t> const extents = model.shape_of(name);
      if (extents.size() == 4) {
        std::int64_t const fan_in = extents[1] * extents[2] * extents[3];
        std::normal_distribution<double> normal(0, std::sqrt(2.0 / static_cast<double>(fan_in)));
        std::vector<double> weights(static_cast<std::size_t>(extents[0] * fan_in));
        for (double& weight : weights) weight = normal(generator);
        model.assign(name, weights);
      } else if (name.ends_with("bn3.weight")) {
        model.assign(name, std::vector<double>(static_cast<std::size_t>(extents[0]), 0.25));
      }
    }
    return model.eval();
  }

  auto classify(mp::Tensor<B, float, 4> const& images) {
    auto const logits = inference_.value(inference_(images));
    return argmax(resize(logits, {images.shape()[2], images.shape()[3]})).tensor();
  }
  void step() { classify(images_[taken_++ % batches]); }

  // Shows that something was computed: labels between 0 and the number of classes, and how many of them.
  std::int64_t classes_used() {
    std::vector<std::int32_t> const labels = mp::to_host(inference_.stream(), classify(images_[0]));
    std::vector<bool> seen(static_cast<std::size_t>(bench::classes));
    for (std::int32_t const label : labels) seen.at(static_cast<std::size_t>(label)) = true;
    return std::count(seen.begin(), seen.end(), true);
  }

  bench::RunOptions const& options_;
  Inference inference_;
  mp::Arena<B> data_;
  std::vector<mp::Tensor<B, float, 4>> images_;
  std::vector<double> times_;
  std::size_t taken_ = 0;
  std::int64_t memory_growth_ = 0;
  double wall_ = 0;
};

void run(bench::Arguments& arguments) {
  using bench::Backend, bench::Policy;
  bench::RunOptions const options(
      arguments,
      {.policy = Policy::name, .batch = bench::nominal[0], .least_batch = 1, .steps = Backend::captures ? 50 : 5});
  mp::Shape<4> const extents = bench::extents_of(arguments, options.batch);
  arguments.refuse_others();
  auto const classifier = std::make_unique<Classifier<Policy, Backend>>(options, extents);
  classifier->prepare();
  if (options.serve) return bench::serve(*classifier);
  classifier->run(options.steps);
  std::cout << classifier->report() << std::endl;
}

[[maybe_unused]] bool const added = bench::add_subject({bench::model_name, bench::depth, bench::Policy::name, run});

}  // namespace
