// SPDX-License-Identifier: Apache-2.0
// Times the kernels of the small ResNet's training step one by one, at the shapes and as often as the step runs them,
// against the time that their bytes need: a list of what to tune, the most expensive first.
#include <mixprec/mixprec.hpp>
//
#include <mixprec/cuda.hpp>

#include <array>
#include <cmath>
#include <exception>
#include <functional>
#include <iostream>

#include "program.hpp"

namespace {

namespace mp = mixprec;

// As a device-to-device copy reaches it on an H200, bytes read and written together.
constexpr double bytes_per_microsecond = 4.3e6;
constexpr std::size_t pool_bytes = std::size_t{3} << 30;
// Several times the H200's L2 of 60 MB.
constexpr std::int64_t cold_bytes = std::int64_t{256} << 20;

struct Case {
  std::string kernel, shape;
  int runs;            // in one training step
  std::int64_t bytes;  // moved by one run, each pass over a tensor counted
  double flops;
  std::int64_t elements;                     // of the largest tensor
  std::function<void(std::int64_t)> launch;  // on the tensors of this set
};

struct Timing {
  double cold, warm;  // microseconds with rotating tensors, and with one set that may stay in L2
};

class Event {
 public:
  Event() { mp::cuda::check(cudaEventCreate(&event_), "cudaEventCreate"); }
  Event(Event const&) = delete;
  Event& operator=(Event const&) = delete;
  ~Event() { cudaEventDestroy(event_); }
  operator cudaEvent_t() const { return event_; }

 private:
  cudaEvent_t event_ = nullptr;
};

template <class T>
class Bench {
 public:
  Bench(mp::cuda::Stream& stream, std::int64_t batch) : stream_(stream), batch_(batch), pool_(pool_bytes) {
    // Bytes 0x3c are about 1 in float16 and 0.01 in float: power and clocks as with ordinary data.
    mp::cuda::check(cudaMemsetAsync(pool_.data(), 0x3c, pool_.bytes(), stream_.handle()), "cudaMemsetAsync");
    for (mp::cuda::DeviceBuffer& buffer : small_) buffer = mp::cuda::DeviceBuffer(std::size_t{16} << 20);
    for (mp::cuda::DeviceBuffer& buffer : small_) {
      mp::cuda::check(cudaMemsetAsync(buffer.data(), 0x3c, buffer.bytes(), stream_.handle()), "cudaMemsetAsync");
    }
    mp::cuda::check(cudaMemsetAsync(small_[7].data(), 0, small_[7].bytes(), stream_.handle()), "cudaMemsetAsync");
  }

  void run() {
    collect();
    struct Row {
      Case const* of;
      Timing time;
    };
    std::vector<Row> rows;
    for (Case const& one : cases_) rows.push_back({&one, {measure(one, true), measure(one, false)}});
    std::sort(rows.begin(), rows.end(),
              [](Row const& a, Row const& b) { return a.of->runs * a.time.cold > b.of->runs * b.time.cold; });
    std::printf("%s, batch %lld, %s\n", mp::name_of(mp::dtype_of_v<T>), static_cast<long long>(batch_),
                stream_.device_name().c_str());
    std::printf("%-34s %-26s %5s %9s %9s %9s %9s %9s %9s\n", "kernel", "shape", "runs", "cold us", "warm us",
                "floor us", "GB/s cold", "GB/s warm", "TFLOP/s");
    double cold = 0, warm = 0, floor = 0;
    for (auto const& [of, time] : rows) {
      double const least = static_cast<double>(of->bytes) / bytes_per_microsecond;
      cold += of->runs * time.cold;
      warm += of->runs * time.warm;
      floor += of->runs * least;
      auto const rate = [&](double microseconds) { return static_cast<double>(of->bytes) / microseconds / 1e3; };
      std::printf("%-34s %-26s %5d %9.2f %9.2f %9.2f %9.0f %9.0f %9.1f\n", of->kernel.c_str(), of->shape.c_str(),
                  of->runs, time.cold, time.warm, least, rate(time.cold), rate(time.warm), of->flops / time.warm / 1e6);
    }
    std::printf("%-34s %-26s %5s %9.1f %9.1f %9.1f\n\n", "sum of runs x time", "", "", cold, warm, floor);
    std::fflush(stdout);
  }

 private:
  static constexpr int slots = 5;

  static std::int64_t aligned(std::int64_t elements) { return (elements + 255) / 256 * 256; }
  T* tensor(std::int64_t set, int slot) const {
    return static_cast<T*>(pool_.data()) + (set * slots + slot) * aligned(elements_);
  }
  // Small arrays keep their place: in a training step they are in L2 as well. The last one holds zeros.
  template <class Element = float>
  Element* small(int at) const {
    return static_cast<Element*>(small_[static_cast<std::size_t>(at)].data());
  }

  void add(std::string kernel, std::string shape, int runs, std::int64_t bytes, double flops, std::int64_t elements,
           std::function<void(std::int64_t)> launch) {
    if (runs > 0) {
      cases_.push_back({std::move(kernel), std::move(shape), runs, bytes, flops, elements, std::move(launch)});
    }
  }

  double measure(Case const& one, bool cold) {
    elements_ = one.elements;
    std::int64_t const set_bytes = slots * aligned(elements_) * std::int64_t{sizeof(T)};
    std::int64_t const fitting = static_cast<std::int64_t>(pool_.bytes()) / set_bytes;
    if (fitting < 1) {
      throw mp::Error(one.kernel + ": tensors of " + std::to_string(set_bytes) + " bytes. Use a smaller batch.");
    }
    std::int64_t const sets = cold ? std::min(fitting, std::max<std::int64_t>(2, cold_bytes / set_bytes + 1)) : 1;
    std::int64_t const launches = (20 + sets - 1) / sets * sets;
    one.launch(0);
    stream_.wait();
    auto const graph = mp::cuda::Graph::capture(stream_, [&] {
      for (std::int64_t i = 0; i < launches; ++i) one.launch(i % sets);
    });
    graph.launch(stream_);
    std::vector<double> samples;
    for (int i = 0; i < 7; ++i) {
      mp::cuda::check(cudaEventRecord(begin_, stream_.handle()), "cudaEventRecord");
      graph.launch(stream_);
      mp::cuda::check(cudaEventRecord(end_, stream_.handle()), "cudaEventRecord");
      stream_.wait();
      float milliseconds = 0;
      mp::cuda::check(cudaEventElapsedTime(&milliseconds, begin_, end_), "cudaEventElapsedTime");
      samples.push_back(1e3 * static_cast<double>(milliseconds) / static_cast<double>(launches));
    }
    return bench::median(samples);
  }

  // Every convolution of the net has these; the stem has no gradient of its input.
  void convolution(int runs, std::int64_t extent, std::int64_t c, std::int64_t k, int kernel, int stride,
                   bool has_input_gradient = true) {
    int const padding = kernel / 2;
    std::int64_t const out = mp::window_extent(extent, kernel, stride, padding, 1);
    mp::ConvGeometry const g{batch_, extent, extent, c, k, kernel, kernel, out, out, stride, padding, 1, 1};
    std::int64_t const bytes = (g.inputs() + g.outputs() + g.weights()) * std::int64_t{sizeof(T)};
    double const flops = 2.0 * static_cast<double>(g.outputs() * c * kernel * kernel);
    std::int64_t const elements = std::max(g.inputs(), g.outputs());
    std::string const shape = std::to_string(extent) + "^2 " + std::to_string(c) + "->" + std::to_string(k) + " " +
                              std::to_string(kernel) + "x" + std::to_string(kernel) + (stride == 2 ? " stride 2" : "");
    add("conv2d_forward", shape, runs, bytes, flops, elements, [=, this](std::int64_t set) {
      conv2d_forward(stream_, g, tensor(set, 0), small<T>(0), nullptr, tensor(set, 1));
    });
    add("conv2d_backward_weight", shape, runs, bytes, flops, elements, [=, this](std::int64_t set) {
      conv2d_backward_weight(stream_, g, tensor(set, 0), tensor(set, 1), small<T>(1));
    });
    add("conv2d_backward_input", shape, has_input_gradient ? runs : 0, bytes, flops, elements,
        [=, this](std::int64_t set) {
          conv2d_backward_input(stream_, g, tensor(set, 1), small<T>(0), tensor(set, 2));
        });
  }

  // Batch norms of one resolution: with ReLU, with the shortcut's addition and ReLU, and bare (in the shortcut); and
  // the sums of two gradients, where an activation has two readers.
  void stage(std::int64_t extent, std::int64_t c, int with_relu, int with_residual, int bare, int sums) {
    std::int64_t const rows = batch_ * extent * extent, n = rows * c, bytes = n * std::int64_t{sizeof(T)};
    std::string const shape = std::to_string(extent) + "^2 x " + std::to_string(c);
    add("batch_norm_statistics", shape, with_relu + with_residual + bare, bytes, 0, n, [=, this](std::int64_t set) {
      batch_norm_statistics(stream_, rows, c, tensor(set, 0), 1e-5, small(2), small(3), small(4), small(5), 0.1);
    });
    auto const forward = [&](std::string name, int runs, bool residual, bool relu) {
      add("batch_norm_forward" + name, shape, runs, (residual ? 3 : 2) * bytes, 0, n, [=, this](std::int64_t set) {
        batch_norm_forward(stream_, rows, c, tensor(set, 0), small(2), small(3), small(0), small(1),
                           residual ? tensor(set, 1) : nullptr, relu, tensor(set, 2));
      });
    };
    forward(" + relu", with_relu, false, true);
    forward(" + add + relu", with_residual, true, true);
    forward("", bare, false, false);
    // Two passes. With ReLU alone both find its mask from x; with a residual the first one reads y and writes the
    // masked gradient, and the second one reads that alone.
    auto const backward = [&](std::string name, int runs, int passes, bool residual, bool relu) {
      add("batch_norm_backward" + name, shape, runs, passes * bytes, 0, n, [=, this](std::int64_t set) {
        batch_norm_backward(stream_, rows, c, tensor(set, 0), relu ? tensor(set, 1) : nullptr, tensor(set, 2), small(2),
                            small(3), small(0), relu && !residual ? small(1) : nullptr, relu, true, tensor(set, 3),
                            residual ? tensor(set, 4) : nullptr, small(4), small(5));
      });
    };
    backward(" + relu", with_relu, 5, false, true);
    backward(" + add + relu", with_residual, 7, true, true);
    backward("", bare, 5, false, false);
    add("accumulate", shape, sums, 3 * bytes, 0, n,
        [=, this](std::int64_t set) { accumulate(stream_, tensor(set, 0), tensor(set, 1), n); });
  }

  void collect() {
    convolution(1, 28, 1, 32, 3, 1, false);
    convolution(4, 28, 32, 32, 3, 1);
    convolution(1, 28, 32, 64, 3, 2);
    convolution(1, 28, 32, 64, 1, 2);
    convolution(3, 14, 64, 64, 3, 1);
    convolution(1, 14, 64, 128, 3, 2);
    convolution(1, 14, 64, 128, 1, 2);
    convolution(3, 7, 128, 128, 3, 1);
    stage(28, 32, 3, 2, 0, 3);
    stage(14, 64, 2, 2, 1, 2);
    stage(7, 128, 2, 2, 1, 1);

    std::int64_t const pixels = batch_ * 28 * 28, last = batch_ * 49 * 128;
    constexpr std::int64_t size = sizeof(T), classes = 10;
    if constexpr (size == 2) {
      add("cast of the images", "28^2 x 1", 1, pixels * 6, 0, 2 * pixels, [=, this](std::int64_t set) {
        cast(stream_, reinterpret_cast<float*>(tensor(set, 0)), tensor(set, 1), pixels);
      });
    }
    add("global_avg_pool2d_forward", "7^2 x 128", 1, last * size, 0, last, [=, this](std::int64_t set) {
      global_avg_pool2d_forward(stream_, batch_, 49, 128, tensor(set, 0), small<T>(0));
    });
    add("global_avg_pool2d_backward", "7^2 x 128", 1, last * size, 0, last, [=, this](std::int64_t set) {
      global_avg_pool2d_backward(stream_, batch_, 49, 128, small<T>(0), tensor(set, 1));
    });
    double const linear = 2.0 * static_cast<double>(batch_ * 128 * classes);
    add("matmul_bias (fc forward)", "128->10", 1, batch_ * 138 * size, linear, last, [=, this](std::int64_t) {
      matmul_bias(stream_, false, true, batch_, classes, 128, small<T>(0), small<T>(1), small<T>(2), small<T>(6));
    });
    add("matmul (fc backward input)", "10->128", 1, batch_ * 138 * size, linear, last, [=, this](std::int64_t) {
      matmul(stream_, false, false, batch_, 128, classes, small<T>(0), small<T>(1), small<T>(6));
    });
    add("matmul (fc backward weight)", "10x128", 1, batch_ * 138 * size, linear, last, [=, this](std::int64_t) {
      matmul(stream_, true, false, classes, 128, batch_, small<T>(0), small<T>(1), small<T>(6));
    });
    add("column_sum (fc bias)", "10", 1, batch_ * classes * size, 0, last,
        [=, this](std::int64_t) { column_sum(stream_, batch_, classes, small<T>(0), small<T>(6)); });
    add("cross_entropy_forward", "10 classes", 1, batch_ * (classes * size + 8), 0, last, [=, this](std::int64_t) {
      cross_entropy_forward(stream_, batch_, classes, small<T>(0), small<std::int32_t>(7), nullptr, -100, small(4),
                            small(5), small(6));
    });
    add("cross_entropy_backward", "10 classes", 1, batch_ * (2 * classes * size + 8), 0, last, [=, this](std::int64_t) {
      cross_entropy_backward(stream_, batch_, classes, small<T>(0), small<std::int32_t>(7), nullptr, -100, small(4),
                             small(5), small(6), small<T>(1));
    });
    optimizer();
  }

  void optimizer() {
    constexpr std::int64_t parameters = 696048, size = sizeof(T);
    auto* const scaler = small<mp::ScalerState>(7);
    auto* const step = reinterpret_cast<mp::StepState*>(small<char>(7) + 4096);
    add("begin_step", "", 1, 0, 0, parameters, [=, this](std::int64_t) { begin_step(stream_, scaler, step); });
    add("check_gradients", "696,048", 1, parameters * size, 0, parameters,
        [=, this](std::int64_t) { check_gradients(stream_, small<T>(0), parameters, false, scaler, step); });
    mp::Segment<float, T, T> const segment{
        small(1), small(2), nullptr, small<T>(0), size == 2 ? small<T>(3) : nullptr, nullptr, parameters, nullptr, 0};
    mp::SgdSettings const settings{.momentum = 0.9, .weight_decay = 5e-4, .check = false};
    add("sgd_update", "696,048", 1, parameters * (16 + size + (size == 2 ? size : 0)), 0, parameters,
        [=, this](std::int64_t) { sgd_update(stream_, settings, segment, scaler, step); });
    add("finish_step", "", 1, 0, 0, parameters, [=, this](std::int64_t) {
      finish_step(stream_, mp::ScalerSettings{}, mp::ScheduleSettings{}, mp::EmaSettings{}, scaler, step);
    });
  }

  mp::cuda::Stream& stream_;
  std::int64_t batch_;
  mp::cuda::DeviceBuffer pool_;
  std::array<mp::cuda::DeviceBuffer, 8> small_;
  std::int64_t elements_ = 0;
  std::vector<Case> cases_;
  Event begin_, end_;
};

}  // namespace

int main(int argc, char** argv) {
  try {
    bench::Arguments arguments(argc, argv);
    std::int64_t const batch = arguments.number("batch", 256, 1);
    std::string const dtype = arguments.text("dtype", "float16");
    arguments.refuse_others();
    mp::cuda::Stream stream;
    if (dtype == "float16") {
      Bench<mp::float16>(stream, batch).run();
    } else if (dtype == "float32") {
      Bench<float>(stream, batch).run();
    } else {
      throw std::runtime_error("--dtype is " + dtype + ". Use float16 or float32.");
    }
  } catch (std::exception const& error) {
    std::cerr << "kernels: " << error.what() << "\n";
    return 1;
  }
  return 0;
}
