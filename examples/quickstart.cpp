// SPDX-License-Identifier: Apache-2.0
// The main example: one network, declared once, trained from one seed in fp32 and in mixed precision. g++ compiles this
// file for the CPU; quickstart.cu includes it, so that nvcc compiles the same training for CUDA.
#include <mixprec/mixprec.hpp>
#ifndef __CUDACC__
#include <mixprec/backend/cpu/capability.hpp>
#include <mixprec/cpu.hpp>
#endif
#include <mixprec/data/drawn.hpp>
#include <mixprec/data/idx.hpp>
#include <mixprec/data/loader.hpp>
#include <mixprec/models/small_resnet.hpp>
#include <mixprec/plan/text.hpp>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <exception>

#include "support/backends.hpp"
#include "support/gpu.hpp"
#include "support/output.hpp"
#include "support/progress.hpp"

namespace quickstart {
namespace {

namespace mp = mixprec;

// Three stages of one residual block, 16 to 64 channels wide. <mixprec/models/small_resnet.hpp> shows how it is
// declared.
using Net = mp::models::SmallResNet<16, 1>;

// The compiler runs the network on this shape and knows every dtype, cast and byte of a training step.
template <class Policy>
constexpr auto const& plan = mp::plan<Net, Policy, mp::Shape{64, 1, 28, 28}>;

struct Data {
  mp::ImageDataset train, test;
};

void keep_first(mp::ImageDataset& data, int count) {
  if (count == 0 || count >= data.size()) return;
  data.labels.resize(static_cast<std::size_t>(count));
  data.images.resize(static_cast<std::size_t>(count) * data.image_bytes());
}

Data load(Options const& options) {
  Data data;
  if (options.data.empty()) {
    data = {mp::draw_dataset(options.train_images > 0 ? options.train_images : 8000, 1),
            mp::draw_dataset(options.test_images > 0 ? options.test_images : 2000, 2)};
  } else {
    auto [train, test] = mp::load_fashion_mnist(options.data);
    data = {std::move(train), std::move(test)};
  }
  keep_first(data.train, options.train_images);
  keep_first(data.test, options.test_images);
  return data;
}

// The network's class for every test image.
template <class Model>
std::vector<int> predict(Model& net, mp::Loader& loader, mp::ImageDataset const& data) {
  net.set_training(false);
  std::vector<int> predictions;
  {
    mp::NoGrad const no_grad(net);
    for (mp::HostBatch const& batch : loader.epoch(0)) {
      auto const images = net.template tensor<float>(
          mp::Shape{batch.count, std::int64_t{1}, std::int64_t{data.height}, std::int64_t{data.width}});
      mp::copy_from_host(net.stream(), images, batch.images.data(), batch.images.size());
      auto const logits = mp::to_host(net.stream(), net(images).tensor());
      for (auto row = logits.begin(); row != logits.end(); row += data.classes) {
        auto const best = std::max_element(
            row, row + data.classes, [](auto a, auto b) { return static_cast<float>(a) < static_cast<float>(b); });
        predictions.push_back(static_cast<int>(best - row));
      }
    }
  }
  net.set_training(true);
  return predictions;
}

double accuracy_of(std::vector<int> const& predictions, mp::ImageDataset const& data) {
  std::size_t correct = 0;
  for (std::size_t i = 0; i < predictions.size(); ++i) correct += predictions[i] == data.labels[i] ? 1 : 0;
  return static_cast<double>(correct) / static_cast<double>(predictions.size());
}

template <class Policy, class B, class Scaler>
Run train(Options const& options, Data const& data, Scaler const& scaler, Run run) {
  using Clock = std::chrono::steady_clock;
  mp::ChannelStatistics const statistics = mp::channel_statistics(data.train);
  // Clothes may be mirrored and shifted; the drawn set varies enough by itself.
  bool const photographs = !options.data.empty();
  mp::Loader loader{data.train,
                    {.batch_size = options.batch,
                     .drop_last = true,
                     .seed = options.seed,
                     .normalization = statistics,
                     .crop_padding = photographs ? 2 : 0,
                     .horizontal_flip = photographs}};
  mp::Loader test_loader{data.test, {.batch_size = options.batch, .shuffle = false, .normalization = statistics}};
  std::int64_t const height = data.train.height, width = data.train.width;
  std::int64_t const steps = options.epochs * loader.batches_per_epoch();

  mp::Model<Net, Policy, B> net{options.seed};
  mp::Sgd optimizer{net, {.momentum = 0.9, .weight_decay = 5e-4, .nesterov = true}};
  mp::Cosine const schedule{.lr = options.learning_rate, .total_steps = steps, .warmup = {.steps = steps / 10}};
  mp::Step step{net, optimizer, scaler, schedule, [](auto& net, auto const& images, auto const& labels) {
                  return mp::cross_entropy(net(images), labels);
                }};

  support::Progress progress(run.policy, "test accuracy", options.epochs, steps);
  support::ProgressState state;
  std::int64_t done = 0;
  for (int epoch = 0; epoch < options.epochs; ++epoch) {
    state.epoch = epoch + 1;
    for (mp::HostBatch const& batch : loader.epoch(epoch)) {
      Clock::time_point const begun = Clock::now();
      step(mp::HostTensor{batch.images.data(), mp::Shape{batch.count, std::int64_t{1}, height, width}},
           mp::HostTensor{batch.labels.data(), mp::Shape{batch.count}});
      // Reading the loss waits for the device: a plain training loop would not do it in every step.
      state.loss = step.loss();
      double const seconds = std::chrono::duration<double>(Clock::now() - begun).count();
      run.step_milliseconds.push_back(seconds * 1e3);
      state.seconds += seconds;
      mp::StepResult const result = step.result();
      state.scale = result.scale;
      run.skipped = result.skipped;
      run.losses.push_back(state.loss);
      run.scales.push_back(state.scale);
      state.images += batch.count;
      progress.step(++done, state);
    }
    // Every step takes the same memory; what the tests take later is not the training's.
    if (epoch == 0) run.peak_bytes = net.session().arena().high_water() + step.arena().high_water();
    run.predictions = predict(net, test_loader, data.test);
    run.accuracies.push_back(state.metric = accuracy_of(run.predictions, data.test));
    progress.epoch(done, state);
  }
  return run;
}

template <class Policy>
void print_totals() {
  constexpr auto const& totals = plan<Policy>;
  auto const mebibytes = [](auto bytes) { return static_cast<double>(bytes) / (1 << 20); };
  std::printf("%s: %d ops, %d casts launched, %d folded, %.1f MiB kept for backward, %.1f MiB at the peak of a step\n",
              totals.policy, totals.rows(), totals.materialized_casts(), totals.folded_casts(),
              mebibytes(totals.memory.kept), mebibytes(totals.peak_bytes()));
}

// Trains in fp32 and under `Policy`, from the same seed on the same batches.
template <class Policy, class B, class Scaler>
void compare(Report& report, Options const& options, Data const& data, Scaler const& scaler, char const* scaler_name) {
  static_assert(plan<Policy>.materialized_casts() <= 1, "only the input image needs a cast of its own");
  std::printf("The compiler's precision plan for a batch of 64:\n\n%s\n", mp::to_text(plan<Policy>).c_str());
  print_totals<mp::Fp32>();
  print_totals<Policy>();
  std::printf("\nbackend %s, %lld training and %lld test images, epochs %d, batch %d, seed %llu\n", B::name,
              static_cast<long long>(data.train.size()), static_cast<long long>(data.test.size()), options.epochs,
              options.batch, static_cast<unsigned long long>(options.seed));
  std::fflush(stdout);
  if (options.policies != Which::mixed) {
    report.runs.push_back(
        train<mp::Fp32, B>(options, data, mp::Scaler<mp::NoScaler>{}, {"fp32", mp::Fp32::name, "none"}));
  }
  if (options.policies != Which::fp32) {
    report.runs.push_back(train<Policy, B>(options, data, scaler, {"mixed", Policy::name, scaler_name}));
  }
}

Samples first_images(mp::ImageDataset const& data) {
  auto const count = static_cast<std::size_t>(std::min<std::int64_t>(shown_samples, data.size()));
  Samples samples{data.height,
                  data.width,
                  {},
                  {data.labels.begin(), data.labels.begin() + static_cast<std::ptrdiff_t>(count)},
                  data.class_names};
  samples.pixels.assign(data.images.begin(),
                        data.images.begin() + static_cast<std::ptrdiff_t>(count * data.image_bytes()));
  return samples;
}

}  // namespace

#ifdef __CUDACC__

Report run_on_cuda(Options const& options) {
  Data const data = load(options);
  Report report{{}, first_images(data.test), ""};
  if (options.mixed == Mixed::bf16) {
    compare<mp::Amp<mp::bfloat16>, mp::Cuda>(report, options, data, mp::Scaler<mp::NoScaler>{}, "none");
  } else if (options.dynamic_scale) {
    compare<mp::Amp<mp::float16>, mp::Cuda>(report, options, data, mp::Scaler<mp::Dynamic>{}, "dynamic");
  } else {
    compare<mp::Amp<mp::float16>, mp::Cuda>(report, options, data, mp::Scaler<mp::StaticScale<512>>{}, "512");
  }
  return report;
}

}  // namespace quickstart

#else

Report run_on_cpu(Options const& options) {
  Data const data = load(options);
  Report report{{}, first_images(data.test), ""};
  compare<mp::Amp<mp::bfloat16>, mp::Cpu>(report, options, data, mp::Scaler<mp::NoScaler>{}, "none");
  if (options.policies != Which::fp32 && !mp::cpu::bfloat16_is_fast()) {
    report.note =
        MIXPREC_USES_ONEDNN()
            ? "mixed is not faster here: without AMX's bfloat16 units (or with ONEDNN_MAX_CPU_ISA below them), "
              "convolutions and matmuls read bfloat16 and compute in float."
            : "mixed is not faster here: this build uses no oneDNN, whose convolutions and matmuls use AMX's "
              "bfloat16 units; the reference kernels compute in float.";
  }
  return report;
}

}  // namespace quickstart

int main(int argc, char** argv) {
  int exit_code = 0;
  auto const options = quickstart::parse_options(argc, argv, support::abilities(), exit_code);
  if (!options) return exit_code;
  try {
    support::check_writable(options->picture);
    if (!options->json.empty()) support::check_writable(options->json);
#ifdef EXAMPLES_WITH_CUDA
    bool const on_gpu = options->backend == quickstart::Backend::cuda;
    quickstart::Report const report = on_gpu ? quickstart::run_on_cuda(*options) : quickstart::run_on_cpu(*options);
#else
    quickstart::Report const report = quickstart::run_on_cpu(*options);
#endif
    std::printf("\n%s\n", quickstart::to_table(report).c_str());
    if (!options->json.empty()) quickstart::write_json(report, *options, options->json);
    quickstart::write_picture(report, options->picture);
    std::printf("picture: %s\n", options->picture.c_str());
  } catch (std::exception const& error) {
    std::fflush(stdout);
    std::fprintf(stderr, "quickstart: %s\n", error.what());
    return 1;
  }
  return 0;
}

#endif
