// SPDX-License-Identifier: Apache-2.0
// Times one training step of the small ResNet, scaler and optimizer included, and prints a JSON line with the keys of
// bench/peers/small_resnet.py. g++ compiles this file for the CPU; training_step_cuda.cu includes it for nvcc, which
// cannot compile the CPU backend beside the CUDA one.
#include <mixprec/models/small_resnet.hpp>

#include "trainer.hpp"

namespace {

namespace mp = mixprec;

constexpr std::int64_t image = 28, classes = 10;
constexpr int width = 32, blocks = 2, stages = 1;
using Net = mp::models::SmallResNet<width, blocks, classes, 1, stages>;

template <class Policy, std::int64_t Batch>
constexpr auto const& plan = mp::plan<Net, Policy, mp::Shape{Batch, std::int64_t{1}, image, image}>;

/// The small ResNet on images of `batch`.
struct SmallResNetTask {
  using Net = ::Net;
  static constexpr double learning_rate = 0.05;
  struct Loss {
    auto operator()(auto& net, auto const& images, auto const& labels) const {
      return mp::cross_entropy(net(images), labels);
    }
  };

  std::int64_t batch;

  mp::Shape<4> images() const { return {{batch, 1, image, image}}; }
  mp::Shape<1> labels() const { return {{batch}}; }

  void draw(std::mt19937& generator, std::vector<float>& pixels, std::vector<std::int32_t>& labels) const {
    std::normal_distribution<float> pixel;
    std::uniform_int_distribution<std::int32_t> label(0, classes - 1);
    for (float& value : pixels) value = pixel(generator);
    for (std::int32_t& value : labels) value = label(generator);
  }

  /// For the batches that the benchmark names.
  template <class Policy>
  std::int64_t planned_bytes() const {
    if constexpr (bench::Backend::captures) {
      if (batch == 256) return static_cast<std::int64_t>(plan<Policy, 256>.peak_bytes());
      if (batch == 2048) return static_cast<std::int64_t>(plan<Policy, 2048>.peak_bytes());
    } else {
      if (batch == 64) return static_cast<std::int64_t>(plan<Policy, 64>.peak_bytes());
    }
    return 0;
  }

  void describe(bench::JsonLine& line, auto&, auto const&, auto const&) const {
    line.add("width", std::int64_t{width})
        .add("stages", std::int64_t{stages})
        .add("blocks", std::int64_t{blocks})
        .add("image", image);
  }
};

template <class B>
void run(bench::TrainerOptions const& options) {
  using bench::train;
  SmallResNetTask const task{options.batch};
  if (options.policy == "fp32") return train<mp::Fp32, B>(task, options, mp::Scaler<mp::NoScaler>{});
  if (options.policy == "amp-bf16") {
    return train<mp::Amp<mp::bfloat16>, B>(task, options, mp::Scaler<mp::NoScaler>{});
  }
  if constexpr (B::captures) {
    if (options.policy == "amp-fp16" && options.scale == "dynamic") {
      return train<mp::Amp<mp::float16>, B>(task, options, mp::Scaler<mp::Dynamic>{});
    }
    if (options.policy == "amp-fp16" && options.scale == "512") {
      return train<mp::Amp<mp::float16>, B>(task, options, mp::Scaler<mp::StaticScale<512>>{});
    }
  }
  throw std::runtime_error("--policy " + options.policy + " --scale " + options.scale + " is not measured on " +
                           B::name + ". Use fp32 or amp-bf16, or on cuda amp-fp16 with --scale dynamic or 512.");
}

}  // namespace

int main(int argc, char** argv) {
  return bench::guarded("training_step", [&] {
    bench::Arguments arguments(argc, argv);
    bool const cuda = bench::Backend::captures;
    bench::TrainerOptions const options(arguments, {.policy = cuda ? "amp-fp16" : "amp-bf16",
                                                    .batch = cuda ? 256 : 64,
                                                    .least_batch = 2,
                                                    .steps = cuda ? 50 : 20});
    arguments.refuse_others();
    run<bench::Backend>(options);
  });
}
