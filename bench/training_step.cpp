// SPDX-License-Identifier: Apache-2.0
// Times one training step of the small ResNet, scaler and optimizer included, and prints a JSON line with the keys of
// bench/peers/small_resnet.py. g++ compiles this file for the CPU; training_step_cuda.cu includes it for nvcc, which
// cannot compile the CPU backend beside the CUDA one.
#include <mixprec/mixprec.hpp>
#ifndef __CUDACC__
#include <mixprec/backend/cpu/capability.hpp>
#include <mixprec/cpu.hpp>
#endif
#include <mixprec/models/small_resnet.hpp>

#include <chrono>
#include <exception>
#include <iostream>
#include <memory>
#include <random>
#include <sstream>

#include "program.hpp"

namespace {

namespace mp = mixprec;
using Clock = std::chrono::steady_clock;

constexpr std::int64_t image = 28, classes = 10;
constexpr int width = 32, blocks = 2, stages = 1;
constexpr std::size_t batches = 4;

struct Options {
  std::string policy, scale, commit;
  std::int64_t batch = 0, steps = 0, warm_up = 0, seed = 0;
  bool graph = true, serve = false, profile = false, from_host = false;
};

double milliseconds_since(Clock::time_point begin) {
  return std::chrono::duration<double, std::milli>(Clock::now() - begin).count();
}

/// What differs between the backends: clocks, memory as the system sees it, and versions.
template <class B>
struct Machine;

#ifndef __CUDACC__

using Backend = mp::Cpu;

template <>
struct Machine<mp::Cpu> {
  static std::int64_t memory_in_use() { return 0; }
  static void profile(bool) {}

  template <class Step>
  static std::vector<double> timed(mp::cpu::Stream&, std::int64_t steps, Step&& step) {
    std::vector<double> times;
    for (std::int64_t i = 0; i < steps; ++i) {
      auto const begin = Clock::now();
      step();
      times.push_back(milliseconds_since(begin));
    }
    return times;
  }
  static void describe(mp::cpu::Stream& stream, bench::JsonLine& line) {
    line.add("device", mp::cpu::bfloat16_is_fast() ? "cpu, AMX bfloat16" : "cpu")
        .add("threads", std::int64_t{stream.threads()});
#if MIXPREC_HAS_ONEDNN()
    dnnl_version_t const* const version = dnnl_version();
    line.add("onednn", std::to_string(version->major) + "." + std::to_string(version->minor) + "." +
                           std::to_string(version->patch));
#endif
  }
};

#else

using Backend = mp::Cuda;

template <>
struct Machine<mp::Cuda> {
  /// Of all processes together.
  static std::int64_t memory_in_use() {
    std::size_t free = 0, total = 0;
    mp::cuda::check(cudaMemGetInfo(&free, &total), "cudaMemGetInfo");
    return static_cast<std::int64_t>(total - free);
  }
  /// Tells profilers and bench/counters where the measured steps begin and end.
  static void profile(bool on) {
    mp::cuda::check(on ? cudaProfilerStart() : cudaProfilerStop(), on ? "cudaProfilerStart" : "cudaProfilerStop");
  }

  /// The distances between events that are recorded between the steps, as in the peer.
  template <class Step>
  static std::vector<double> timed(mp::cuda::Stream& stream, std::int64_t steps, Step&& step) {
    std::vector<cudaEvent_t> events(static_cast<std::size_t>(steps) + 1);
    for (cudaEvent_t& event : events) mp::cuda::check(cudaEventCreate(&event), "cudaEventCreate");
    auto const record = [&](cudaEvent_t event) {
      mp::cuda::check(cudaEventRecord(event, stream.handle()), "cudaEventRecord");
    };
    stream.wait();
    record(events[0]);
    for (std::size_t i = 1; i < events.size(); ++i) {
      step();
      record(events[i]);
    }
    stream.wait();
    std::vector<double> times;
    for (std::size_t i = 1; i < events.size(); ++i) {
      float elapsed = 0;
      mp::cuda::check(cudaEventElapsedTime(&elapsed, events[i - 1], events[i]), "cudaEventElapsedTime");
      times.push_back(static_cast<double>(elapsed));
    }
    for (cudaEvent_t event : events) cudaEventDestroy(event);
    return times;
  }
  static void describe(mp::cuda::Stream& stream, bench::JsonLine& line) {
    int runtime = 0, driver = 0;
    mp::cuda::check(cudaRuntimeGetVersion(&runtime), "cudaRuntimeGetVersion");
    mp::cuda::check(cudaDriverGetVersion(&driver), "cudaDriverGetVersion");
    line.add("device", stream.device_name())
        .add("cuda", std::int64_t{runtime})
        .add("driver", std::int64_t{driver})
        .add("cudnn", static_cast<std::int64_t>(cudnnGetVersion()))
        .add("workspace_bytes", static_cast<std::int64_t>(stream.workspace_used()))
        .add("scratch_bytes", static_cast<std::int64_t>(stream.scratch_used()));
  }
};

#endif

template <class Net, class Policy, std::int64_t Batch>
constexpr auto const& plan = mp::plan<Net, Policy, mp::Shape{Batch, std::int64_t{1}, image, image}>;

/// Bytes that the compiler predicted for this batch; 0 for batches that the benchmark does not name.
template <class Net, class Policy, class B>
std::int64_t planned_bytes(std::int64_t batch) {
  if constexpr (B::captures) {
    if (batch == 256) return static_cast<std::int64_t>(plan<Net, Policy, 256>.peak_bytes());
    if (batch == 2048) return static_cast<std::int64_t>(plan<Net, Policy, 2048>.peak_bytes());
  } else {
    if (batch == 64) return static_cast<std::int64_t>(plan<Net, Policy, 64>.peak_bytes());
  }
  return 0;
}

template <class Policy, class B, class Scaler>
class Trainer {
 public:
  using Net = mp::models::SmallResNet<width, blocks, classes, 1, stages>;

  Trainer(Options const& options, Scaler const& scaler)
      : options_(options),
        model_(static_cast<std::uint64_t>(options.seed)),
        data_(model_.stream()),
        optimizer_(model_, {.momentum = 0.9, .weight_decay = 5e-4}),
        step_(model_, optimizer_, scaler, mp::Constant{.lr = 0.05}, Loss{}, {.graph = options.graph}) {
    std::mt19937 generator(static_cast<std::mt19937::result_type>(options.seed));
    std::normal_distribution<float> pixel;
    std::uniform_int_distribution<std::int32_t> label(0, classes - 1);
    for (std::size_t i = 0; i < batches; ++i) {
      auto& pixels = pixels_.emplace_back(static_cast<std::size_t>(options.batch * image * image));
      auto& labels = classes_.emplace_back(static_cast<std::size_t>(options.batch));
      for (float& value : pixels) value = pixel(generator);
      for (std::int32_t& value : labels) value = label(generator);
      images_.emplace_back(data_, mp::Shape{options.batch, std::int64_t{1}, image, image});
      labels_.emplace_back(data_, mp::Shape{options.batch});
      mp::copy_from_host(model_.stream(), images_.back(), pixels.data(), pixels.size());
      mp::copy_from_host(model_.stream(), labels_.back(), labels.data(), labels.size());
    }
    memory_before_ = Machine<B>::memory_in_use();
  }

  void prepare() {
    step();
    first_loss_ = step_.loss();
    for (std::int64_t i = 1; i < options_.warm_up; ++i) step();
    B::wait(model_.stream());
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
    std::int64_t parameters = 0, convolutions = 0;
    for (mp::ParameterEntry const& entry : model_.session().parameters().entries()) {
      parameters += entry.size();
      convolutions += entry.rank == 4 ? 1 : 0;
    }
    bench::JsonLine line;
    line.add("peer", "mixprec")
        .add("version", std::to_string(MIXPREC_VERSION_MAJOR) + "." + std::to_string(MIXPREC_VERSION_MINOR) + "." +
                            std::to_string(MIXPREC_VERSION_PATCH));
    if (options_.commit.empty()) {
      line.null("commit");
    } else {
      line.add("commit", options_.commit);
    }
    Machine<B>::describe(model_.stream(), line);
    line.add("mode", options_.policy)
        .add("batch", options_.batch)
        .add("ms", bench::median(times_), 4)
        .add("ms_min", *std::min_element(times_.begin(), times_.end()), 4)
        .add("ms_mean", bench::mean(times_), 4)
        .add("ms_wall", wall_, 4)
        .add("steps", static_cast<std::int64_t>(times_.size()))
        .add("allocated_bytes", bytes(persistent.high_water() + values.high_water() + data_.high_water()))
        .add("reserved_bytes", bytes(persistent.reserved() + values.reserved() + data_.reserved()))
        .add("step_bytes", bytes(persistent.high_water() + values.high_water()));
    std::int64_t const planned = planned_bytes<Net, Policy, B>(options_.batch);
    if (planned == 0) {
      line.null("plan_bytes");
    } else {
      line.add("plan_bytes", planned);
    }
    if constexpr (B::captures) line.add("memory_info_bytes", Machine<B>::memory_in_use() - memory_before_);
    line.add("parameters", parameters)
        .add("convolutions", convolutions)
        .add("width", std::int64_t{width})
        .add("stages", std::int64_t{stages})
        .add("blocks", std::int64_t{blocks})
        .add("image", image)
        .add("loss_first", first_loss_, 4)
        .add("loss_last", step_.loss(), 4);
    mp::StepResult const result = step_.result();
    line.add("scale", static_cast<double>(result.scale), 1).add("skipped", result.skipped);
    line.add("captures", std::int64_t{step_.captures()}).add("graph_note", step_.graph_note());
    return line.text();
  }

 private:
  struct Loss {
    auto operator()(auto& net, auto const& images, auto const& labels) const {
      return mp::cross_entropy(net(images), labels);
    }
  };
  using Model = mp::Model<Net, Policy, B>;

  void step() {
    std::size_t const at = taken_++ % batches;
    if (options_.from_host) {
      step_(mp::HostTensor{pixels_[at].data(), images_[at].shape()},
            mp::HostTensor{classes_[at].data(), labels_[at].shape()});
    } else {
      step_(images_[at], labels_[at]);
    }
  }

  Options const& options_;
  Model model_;
  mp::Arena<B> data_;  // apart from the model's, so that the plan can be held against the model's
  mp::Sgd<Model> optimizer_;
  mp::Step<Model, mp::Sgd<Model>, Scaler, Loss> step_;
  std::vector<std::vector<float>> pixels_;
  std::vector<std::vector<std::int32_t>> classes_;
  std::vector<mp::Tensor<B, float, 4>> images_;
  std::vector<mp::Tensor<B, std::int32_t, 1>> labels_;
  std::vector<double> times_;
  std::size_t taken_ = 0;
  std::int64_t memory_before_ = 0;
  double first_loss_ = 0, wall_ = 0;
};

/// "run N", "report" and "quit" on standard input, as the peer's --serve.
template <class Trainer>
void serve(Trainer& trainer) {
  std::cout << "ready" << std::endl;
  bool has_run = false;
  for (std::string line; std::getline(std::cin, line);) {
    std::istringstream words(line);
    std::string verb, rest;
    std::int64_t steps = 0;
    if (!(words >> verb)) continue;
    if (verb == "quit") break;
    if (verb == "report" && has_run) {
      std::cout << trainer.report() << std::endl;
    } else if (verb == "run" && words >> steps && steps > 0 && !(words >> rest)) {
      std::printf("%.4f\n", bench::median(trainer.run(steps)));
      std::fflush(stdout);
      has_run = true;
    } else {
      std::cout << "error: say \"run N\" with N above 0, \"report\" after a run, or \"quit\"" << std::endl;
    }
  }
}

template <class Policy, class B, class Scaler>
void measure(Options const& options, Scaler const& scaler) {
  auto const trainer = std::make_unique<Trainer<Policy, B, Scaler>>(options, scaler);
  trainer->prepare();
  if (options.serve) return serve(*trainer);
  trainer->run(options.steps);
  if (options.profile) trainer->run_for_profiler(options.steps);
  std::cout << trainer->report() << std::endl;
}

template <class B>
void measure_on(Options const& options) {
  if (options.policy == "fp32") return measure<mp::Fp32, B>(options, mp::Scaler<mp::NoScaler>{});
  if (options.policy == "amp-bf16") return measure<mp::Amp<mp::bfloat16>, B>(options, mp::Scaler<mp::NoScaler>{});
  if constexpr (B::captures) {
    if (options.policy == "amp-fp16" && options.scale == "dynamic") {
      return measure<mp::Amp<mp::float16>, B>(options, mp::Scaler<mp::Dynamic>{});
    }
    if (options.policy == "amp-fp16" && options.scale == "512") {
      return measure<mp::Amp<mp::float16>, B>(options, mp::Scaler<mp::StaticScale<512>>{});
    }
  }
  throw std::runtime_error("--policy " + options.policy + " --scale " + options.scale + " is not measured on " +
                           B::name + ". Use fp32 or amp-bf16, or on cuda amp-fp16 with --scale dynamic or 512.");
}

}  // namespace

int main(int argc, char** argv) {
  try {
    bench::Arguments arguments(argc, argv);
    bool const cuda = Backend::captures;
    Options options;
    options.policy = arguments.text("policy", cuda ? "amp-fp16" : "amp-bf16");
    options.scale = arguments.text("scale", "dynamic");
    options.commit = arguments.text("commit", "");
    options.batch = arguments.number("batch", cuda ? 256 : 64, 2);
    options.steps = arguments.number("steps", cuda ? 50 : 20, 1);
    options.warm_up = arguments.number("warm-up", 15, 1);
    options.seed = arguments.number("seed", 0);
    options.from_host = arguments.number("from-host", 0) != 0;
    options.graph = arguments.number("graph", 1) != 0;
    options.serve = arguments.number("serve", 0) != 0;
    options.profile = arguments.number("profile", 0) != 0;
    arguments.refuse_others();
    measure_on<Backend>(options);
  } catch (std::exception const& error) {
    std::cerr << "training_step: " << error.what() << "\n";
    return 1;
  }
  return 0;
}
