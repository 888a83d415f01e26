// SPDX-License-Identifier: Apache-2.0
// The command line by CLI11, in a file of its own so that the training code does not pay for the header.
#include "options.hpp"

#include <limits>

#include "command_line.hpp"

namespace quickstart {

using support::refuse;

std::optional<Options> parse_options(int argc, char const* const* argv, support::Abilities abilities, int& exit_code) {
  Options options;
  std::string backend = abilities.gpu_found ? "cuda" : "cpu", mixed, scale, policies = "both";
  CLI::App app{"Trains one small residual network from one seed in fp32 and in mixed precision, and compares them."};
  app.set_version_flag("--version", "mixprec quickstart");
  auto const* const data =
      app.add_option("--data", options.data, "Directory of Fashion-MNIST's four .gz files; default: drawn shapes");
  auto const* const epochs = app.add_option("--epochs", options.epochs, "Passes over the training images")
                                 ->check(CLI::Range(1, 1000))
                                 ->capture_default_str();
  auto const* const batch =
      app.add_option("--batch", options.batch, "Images a step")->check(CLI::Range(2, 65536))->capture_default_str();
  app.add_option("--seed", options.seed, "Of weights and batches")
      ->check(support::whole_number())
      ->capture_default_str();
  app.add_option("--lr", options.learning_rate, "Highest learning rate")
      ->check(support::positive_number())
      ->capture_default_str();
  auto const* const train_images =
      app.add_option("--train-images", options.train_images, "Train on the first N images only")
          ->check(CLI::Range(1, std::numeric_limits<int>::max()));
  app.add_flag("--quick", options.quick, "A few hundred images, one epoch: does it run?");
  app.add_option("--backend", backend, "cpu, or cuda in a build with CUDA")
      ->check(CLI::IsMember({"cpu", "cuda"}))
      ->capture_default_str();
  app.add_option("--mixed", mixed, "Low-precision type; default: bf16 on the CPU, fp16 on CUDA")
      ->check(CLI::IsMember({"bf16", "fp16"}));
  app.add_option("--scale", scale, "Loss scale of fp16; default: dynamic")->check(CLI::IsMember({"dynamic", "512"}));
  app.add_option("--policy", policies, "What to train")
      ->check(CLI::IsMember({"fp32", "mixed", "both"}))
      ->capture_default_str();
  app.add_option("--out", options.picture, "The picture to write")->capture_default_str();
  app.add_option("--json", options.json, "Also write losses and results to this file");
  auto const complete = [&] {
    if (options.quick) {
      if (epochs->empty()) options.epochs = 1;
      if (batch->empty()) options.batch = 32;
      if (train_images->empty()) options.train_images = 320;
      options.test_images = 100;
    }
    if (data->count() > 0 && options.data.empty()) refuse("--data: the name is empty. Name a directory");
    if (options.picture.empty()) refuse("--out: the name is empty. Name the picture");
    options.backend = backend == "cuda" ? Backend::cuda : Backend::cpu;
    if (options.backend == Backend::cuda && !abilities.built_with_cuda) {
      refuse(
          "--backend cuda: this program was built without CUDA. Build it where CMake finds the CUDA toolkit and "
          "cuDNN, or use --backend cpu");
    }
    if (options.backend == Backend::cuda && !abilities.gpu_found) {
      refuse("--backend cuda: the CUDA runtime finds no GPU. Run on a machine with one, or use --backend cpu");
    }
    if (mixed.empty()) mixed = options.backend == Backend::cuda ? "fp16" : "bf16";
    options.mixed = mixed == "fp16" ? Mixed::fp16 : Mixed::bf16;
    if (options.mixed == Mixed::fp16 && options.backend == Backend::cpu) {
      refuse("--mixed fp16: the CPU has no fast float16 here. Use bf16, or --backend cuda");
    }
    if (options.mixed == Mixed::bf16 && !scale.empty()) {
      refuse("--scale " + scale +
             ": bf16 has float's range and needs no loss scale. Leave the option out, or use "
             "--mixed fp16");
    }
    options.dynamic_scale = options.mixed == Mixed::fp16 && scale != "512";
    options.policies = policies == "fp32" ? Which::fp32 : policies == "mixed" ? Which::mixed : Which::both;
  };
  if (support::parse(app, "quickstart", argc, argv, exit_code, complete)) return options;
  return std::nullopt;
}

}  // namespace quickstart
