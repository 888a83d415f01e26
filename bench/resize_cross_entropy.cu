// SPDX-License-Identifier: Apache-2.0
// Times cross-entropy at label resolution from logits of a lower one, forward and backward, and holds the loss and the
// gradient to a computation in double. peers/resize_cross_entropy.py prints the same keys for PyTorch.
#include <mixprec/mixprec.hpp>
//
#include <mixprec/cuda.hpp>

#include <cmath>
#include <exception>
#include <iostream>
#include <memory>
#include <random>

#include "program.hpp"

namespace {

namespace mp = mixprec;

struct Options {
  std::int64_t batch, classes, from, to, steps, warm_up;
  float scale;  // of the loss: a mean over millions of labels is below float16's range
};

class Event {
 public:
  Event() { mp::cuda::check(cudaEventCreate(&event_), "cudaEventCreate"); }
  Event(Event const&) = delete;
  Event& operator=(Event const&) = delete;
  ~Event() { cudaEventDestroy(event_); }
  void record(mp::cuda::Stream& stream) {
    mp::cuda::check(cudaEventRecord(event_, stream.handle()), "cudaEventRecord");
  }
  double milliseconds_since(Event const& begin) const {
    float milliseconds = 0;
    mp::cuda::check(cudaEventElapsedTime(&milliseconds, begin.event_, event_), "cudaEventElapsedTime");
    return static_cast<double>(milliseconds);
  }

 private:
  cudaEvent_t event_ = nullptr;
};

/// Stands for the network in front of the loss: takes the logits' gradient.
template <class T>
struct Sink final : mp::TapeNode<mp::Cuda> {
  void backward(mp::Session<mp::Cuda>& session) override {
    *gradient = session.template take_gradient<T, 4>(slot, shape);
  }
  mp::GradientSlot slot;
  mp::Shape<4> shape{};
  mp::Tensor<mp::Cuda, T, 4>* gradient = nullptr;
};

template <class T>
class Program {
 public:
  using Policy = mp::Amp<T>;

  explicit Program(Options const& options)
      : options_(options), session_(1), shape_{{options.batch, options.classes, options.from, options.from}} {
    std::mt19937 generator(1);
    std::normal_distribution<float> normal(0, 2);
    host_logits_.resize(static_cast<std::size_t>(shape_.size()));
    for (T& value : host_logits_) value = mp::convert<T>(normal(generator));
    mp::Shape<3> const extents{{options.batch, options.to, options.to}};
    host_labels_.resize(static_cast<std::size_t>(extents.size()));
    // Regions of one class, a border that is ignored, as label maps have them.
    for (std::int64_t at = 0; at < extents.size(); ++at) {
      std::int64_t const x = at % options.to, y = at / options.to % options.to;
      host_labels_[static_cast<std::size_t>(at)] =
          x < 4 ? ignored
                : static_cast<std::int32_t>((x / 37 + 7 * (y / 29) + at / (options.to * options.to)) % options.classes);
    }
    logits_ = session_.template allocate<T>(shape_);
    labels_ = session_.template allocate<std::int32_t>(extents);
    scale_ = session_.template allocate<float>(mp::Shape{1});
    mp::copy_from_host(session_.stream(), logits_, host_logits_.data(), host_logits_.size());
    mp::copy_from_host(session_.stream(), labels_, host_labels_.data(), host_labels_.size());
    mp::copy_from_host(session_.stream(), scale_, &options_.scale, 1);
  }

  void run(bool check) {
    mp::cuda::Stream& stream = session_.stream();
    std::vector<double> forward, backward, both;
    Event begin, middle, end;
    for (std::int64_t step = 0; step < options_.warm_up + options_.steps; ++step) {
      if (step == options_.warm_up) session_.arena().reset_high_water();
      gradient_ = {};
      session_.clear_tape();
      begin.record(stream);
      auto sink = std::make_unique<Sink<T>>();
      sink->slot = session_.new_slot();
      sink->shape = shape_;
      sink->gradient = &gradient_;
      mp::Value<mp::Cuda, T, 4, mp::dynamic_channels, Policy> const x(session_, logits_, sink->slot, {});
      session_.push_node(std::move(sink));
      auto const loss = cross_entropy(resize(x, {options_.to, options_.to}), labels_, {.ignore_index = ignored});
      middle.record(stream);
      session_.backward(loss, scale_.data());
      end.record(stream);
      stream.wait();
      if (step >= options_.warm_up) {
        forward.push_back(middle.milliseconds_since(begin));
        backward.push_back(end.milliseconds_since(middle));
        both.push_back(end.milliseconds_since(begin));
      }
      loss_ = static_cast<double>(mp::to_host(stream, loss.tensor())[0]);
    }
    bench::JsonLine line;
    line.add("program", "mixprec").add("mode", "fused").add("device", stream.device_name());
    line.add("dtype", mp::name_of(mp::dtype_of_v<T>)).add("batch", options_.batch).add("classes", options_.classes);
    line.add("from", options_.from).add("to", options_.to).add("steps", options_.steps);
    line.add("forward_ms", bench::median(forward), 4).add("backward_ms", bench::median(backward), 4);
    line.add("ms", bench::median(both), 4);
    line.add("allocated_bytes", static_cast<std::int64_t>(session_.arena().high_water() + stream.scratch_used()));
    line.add("loss", loss_, 6);
    if (check) {
      count_labels();
      line.add("loss_error", std::abs(loss_ - expected_loss()) / expected_loss(), 9);
      line.add("gradient_error", gradient_error(), 9);
    }
    std::cout << line.text() << std::endl;
  }

 private:
  static constexpr std::int32_t ignored = 255;
  static constexpr std::int64_t checked_pixels = 200;

  void count_labels() {
    for (std::int32_t const label : host_labels_) labels_that_count_ += label != ignored ? 1 : 0;
  }

  // The logits of one label's pixel, and their log-sum-exp.
  double interpolate(std::int64_t n, std::int64_t p, std::int64_t q, std::vector<double>& values) const {
    mp::ResizeAxis const axis = mp::ResizeAxis::of(options_.from, options_.to, false);
    auto const vertical = axis.tap(p), horizontal = axis.tap(q);
    double const down = axis.fraction<double>(vertical.rest), right = axis.fraction<double>(horizontal.rest);
    values.assign(static_cast<std::size_t>(options_.classes), 0);
    auto const add = [&](std::int64_t h, std::int64_t w, double weight) {
      T const* const from = host_logits_.data() + ((n * options_.from + h) * options_.from + w) * options_.classes;
      for (std::size_t j = 0; j < values.size(); ++j) values[j] += weight * mp::convert<double>(from[j]);
    };
    add(vertical.low, horizontal.low, (1 - down) * (1 - right));
    add(vertical.low, horizontal.high, (1 - down) * right);
    add(vertical.high, horizontal.low, down * (1 - right));
    add(vertical.high, horizontal.high, down * right);
    double sum = 0;
    for (double const value : values) sum += std::exp(value);
    return std::log(sum);
  }
  std::int32_t label_of(std::int64_t n, std::int64_t p, std::int64_t q) const {
    return host_labels_[static_cast<std::size_t>((n * options_.to + p) * options_.to + q)];
  }

  double expected_loss() const {
    double total = 0;
#pragma omp parallel for reduction(+ : total)
    for (std::int64_t row = 0; row < options_.batch * options_.to; ++row) {
      std::vector<double> values;
      for (std::int64_t q = 0; q < options_.to; ++q) {
        std::int64_t const n = row / options_.to, p = row % options_.to;
        std::int32_t const label = label_of(n, p, q);
        if (label != ignored) total += interpolate(n, p, q, values) - values[static_cast<std::size_t>(label)];
      }
    }
    return total / static_cast<double>(labels_that_count_);
  }

  // The largest error over all classes of some pixels, in parts of the largest gradient there.
  double gradient_error() {
    std::vector<T> const got = mp::to_host(session_.stream(), gradient_);
    mp::ResizeAxis const axis = mp::ResizeAxis::of(options_.from, options_.to, false);
    double const factor = static_cast<double>(options_.scale) / static_cast<double>(labels_that_count_);
    std::mt19937_64 generator(2);
    double most = 0, error = 0;
    std::vector<double> values;
    for (std::int64_t sample = 0; sample < checked_pixels; ++sample) {
      auto const at =
          static_cast<std::int64_t>(generator() % static_cast<std::uint64_t>(shape_.size() / options_.classes));
      std::int64_t const w = at % options_.from, h = at / options_.from % options_.from;
      std::int64_t const n = at / (options_.from * options_.from);
      std::vector<double> expected(static_cast<std::size_t>(options_.classes));
      for (std::int64_t p = axis.begin(h - 1); p < axis.begin(h + 1); ++p) {
        for (std::int64_t q = axis.begin(w - 1); q < axis.begin(w + 1); ++q) {
          std::int32_t const label = label_of(n, p, q);
          if (label == ignored) continue;
          double const weight = factor * axis.weight<double>(p, h) * axis.weight<double>(q, w);
          double const lse = interpolate(n, p, q, values);
          for (std::size_t j = 0; j < values.size(); ++j) expected[j] += weight * std::exp(values[j] - lse);
          expected[static_cast<std::size_t>(label)] -= weight;
        }
      }
      for (std::size_t j = 0; j < expected.size(); ++j) {
        most = std::max(most, std::abs(expected[j]));
        std::size_t const index = static_cast<std::size_t>(at * options_.classes) + j;
        error = std::max(error, std::abs(mp::convert<double>(got[index]) - expected[j]));
      }
    }
    return error / most;
  }

  Options options_;
  mp::Session<mp::Cuda> session_;
  mp::Shape<4> shape_;
  std::vector<T> host_logits_;
  std::vector<std::int32_t> host_labels_;
  mp::Tensor<mp::Cuda, T, 4> logits_, gradient_;
  mp::Tensor<mp::Cuda, std::int32_t, 3> labels_;
  mp::Tensor<mp::Cuda, float, 1> scale_;
  std::int64_t labels_that_count_ = 0;
  double loss_ = 0;
};

}  // namespace

int main(int argc, char** argv) {
  try {
    bench::Arguments arguments(argc, argv);
    Options const options{arguments.number("batch", 16, 1),
                          arguments.number("classes", 150, 1),
                          arguments.number("from", 128, 1),
                          arguments.number("to", 512, 1),
                          arguments.number("steps", 20, 1),
                          arguments.number("warm-up", 3),
                          65536.0f};
    std::string const dtype = arguments.text("dtype", "float16");
    bool const check = arguments.number("check", 1) != 0;
    arguments.refuse_others();
    if (dtype == "float16") {
      Program<mp::float16>(options).run(check);
    } else if (dtype == "bfloat16") {
      Program<mp::bfloat16>(options).run(check);
    } else {
      throw std::runtime_error("--dtype is " + dtype + ". Use float16 or bfloat16.");
    }
  } catch (std::exception const& error) {
    std::cerr << "bench_resize_cross_entropy: " << error.what() << '\n';
    return 1;
  }
}
