// SPDX-License-Identifier: Apache-2.0
// The command line by CLI11, and what does not go together.
#include "options.hpp"

#include <algorithm>
#include <charconv>
#include <limits>
#include <sstream>
#include <string>
#include <thread>

#include "../support/command_line.hpp"
#include "run.hpp"

namespace segment {
namespace {

using support::refuse;

bool built(std::string const& model, std::string const& policy, std::string const& device) {
  return std::ranges::any_of(built_runs(), [&](BuiltRun const& run) {
    return model == run.model && policy == run.policy && device == run.device;
  });
}

// "fcn/fp32/cpu, fcn/amp-bf16/cpu"
std::string listed_runs() {
  std::string text;
  for (BuiltRun const& run : built_runs())
    text += std::string(text.empty() ? "" : ", ") + run.model + "/" + run.policy + "/" + run.device;
  return text;
}

void require_built(std::string const& model, std::string const& policy, std::string const& device) {
  if (built(model, policy, device)) return;
  refuse("--model " + model + " --policy " + policy + " --device " + device + ": this program holds " + listed_runs() +
         ". Choose one of them, or build again with -DMIXPREC_SEGMENT_MODELS=" + model +
         " -DMIXPREC_SEGMENT_POLICIES=\"" + (policy == "fp32" ? "" : "fp32;") + policy +
         "\" -DMIXPREC_SEGMENT_DEVICES=" + device);
}

// The first of the policies that was built for the model and device.
std::string first_built(std::string const& model, std::string const& device, std::initializer_list<char const*> names) {
  for (char const* const name : names)
    if (built(model, name, device)) return name;
  return *names.begin();
}

mixprec::ImageExtent parse_extent(std::string const& text) {
  mixprec::ImageExtent extent;
  char const* const end = text.data() + text.size();
  auto const height = std::from_chars(text.data(), end, extent.height);
  bool good = height.ec == std::errc{} && height.ptr != end && *height.ptr == 'x';
  if (good) {
    auto const width = std::from_chars(height.ptr + 1, end, extent.width);
    good = width.ec == std::errc{} && width.ptr == end;
  }
  if (!good || std::min(extent.height, extent.width) < 32 || std::max(extent.height, extent.width) > 4096)
    refuse("--crop: '" + text + "' is not HEIGHTxWIDTH of 32 to 4096 pixels a side, such as 180x240");
  return extent;
}

// A number of classes, or their names between commas.
std::vector<std::string> parse_classes(std::string const& text) {
  std::vector<std::string> names;
  int count = 0;
  auto const number = std::from_chars(text.data(), text.data() + text.size(), count);
  if (number.ec == std::errc{} && number.ptr == text.data() + text.size()) {
    for (int c = 0; c < std::min(count, 256); ++c) names.push_back("class " + std::to_string(c));
  } else {
    std::istringstream list(text);
    for (std::string name; std::getline(list, name, ',');) names.push_back(name);
  }
  int const most = network_sizes().classes;
  if (names.size() < 2) refuse("--classes: '" + text + "' is not a number above 1, nor names between commas");
  if (std::cmp_greater(names.size(), most)) {
    refuse("--classes: '" + text + "' are more than the " + std::to_string(most) +
           " that this program's networks have. Build again with -DMIXPREC_SEGMENT_CLASSES");
  }
  return names;
}

std::string parse_scale(std::string const& scale, std::string const& policy) {
  if (policy == "fp32" || policy == "amp-bf16") {
    if (!scale.empty()) {
      refuse("--scale " + scale + ": " + policy +
             " has float's range and needs no loss scale. Leave the option out, or choose a float16 policy");
    }
    return "none";
  }
  if (scale.empty()) return "dynamic";
  if (scale != "dynamic" && !support::positive_number()(std::string(scale)).empty())
    refuse("--scale: '" + scale + "' is neither dynamic nor a number above 0");
  return scale;
}

}  // namespace

std::optional<Options> parse_options(int argc, char const* const* argv, support::Abilities abilities, int& exit_code) {
  Options options;
  Settings& settings = options.settings;
  bool const cuda_built =
      std::ranges::any_of(built_runs(), [](BuiltRun const& run) { return std::string(run.device) == "cuda"; });
  settings.device = abilities.gpu_found && cuda_built ? "cuda" : "cpu";
  settings.model = built_runs().front().model;
  settings.output = "segment-output";
  settings.workers = static_cast<int>(std::clamp(std::thread::hardware_concurrency(), 1u, 4u));
  settings.checkpoint_every = 500;
  settings.evaluate_every = 10;
  std::string scale, crop, classes, evaluation = "slide";
  bool quick = false;
  CLI::App app{
      "Trains a semantic segmentation network on images and label maps, or on drawn shapes, and evaluates it."};
  app.set_version_flag("--version", "mixprec segment");
  app.add_option("--model", settings.model, "Network")
      ->check(CLI::IsMember({"fcn", "pspnet", "deeplabv3", "deeplabv3plus"}))
      ->capture_default_str();
  app.add_option("--policy", settings.policy, "Precision; default: amp-fp16 on CUDA, amp-bf16 on the CPU")
      ->check(CLI::IsMember({"fp32", "amp-fp16", "amp-bf16", "o2", "o3"}));
  app.add_option("--scale", scale,
                 "Loss scale of a float16 policy: dynamic, or a number such as 512; default: dynamic");
  app.add_option("--device", settings.device, "cpu, or cuda in a build with CUDA")
      ->check(CLI::IsMember({"cpu", "cuda"}))
      ->capture_default_str();
  app.add_flag("--compare", options.compare, "Train in fp32 first, then under --policy, from the same seed");
  auto const* const data =
      app.add_option("--data", options.data.folder, "Folder with train.txt and val.txt; default: drawn shapes");
  app.add_option("--classes", classes, "Of --data: their number, or their names between commas; default: all outputs");
  auto const* const ignore =
      app.add_option("--ignore", options.data.ignore, "Of --data: the label of pixels that do not count")
          ->check(CLI::Range(0, 255))
          ->capture_default_str();
  auto const* const limit = app.add_option("--limit", options.data.limit, "Use the first N images of each list only")
                                ->check(CLI::Range(1, std::numeric_limits<int>::max()));
  auto const* const epochs = app.add_option("--epochs", settings.epochs, "Passes over the training images")
                                 ->check(CLI::Range(1, 100000))
                                 ->capture_default_str();
  auto const* const batch = app.add_option("--batch-size", settings.batch_size, "Images a step")
                                ->check(CLI::Range(2, 4096))
                                ->capture_default_str();
  app.add_option("--seed", settings.seed, "Of weights, order, augmentation and dropout")
      ->check(support::whole_number())
      ->capture_default_str();
  app.add_option("--lr", settings.learning_rate, "Learning rate to start from")
      ->check(support::positive_number())
      ->capture_default_str();
  app.add_option("--power", settings.power, "Of the poly schedule, lr (1 - step / steps)^power")
      ->check(support::positive_number())
      ->capture_default_str();
  app.add_option("--warmup", settings.warmup, "Steps of linear warm-up, at most a tenth of all")
      ->check(CLI::Range(0, 1000000))
      ->capture_default_str();
  app.add_option("--momentum", settings.momentum, "Of SGD")->check(CLI::Range(0.0, 0.9999))->capture_default_str();
  app.add_option("--weight-decay", settings.weight_decay, "Of SGD")->check(CLI::Range(0.0, 1.0))->capture_default_str();
  app.add_option("--crop", crop, "HEIGHTxWIDTH of training images; default: 180x240, of drawn ones 96x96");
  app.add_flag("--tf32", settings.tf32, "Let the GPU round float operands of matmuls and convolutions to TF32");
  app.add_option("--eval", evaluation, "slide a window of the crop's extent, or whole images")
      ->check(CLI::IsMember({"whole", "slide"}))
      ->capture_default_str();
  app.add_flag("--tta", settings.test_scales, "Evaluate at scales 0.75, 1 and 1.25, mirrored and not");
  app.add_option("--evaluate-every", settings.evaluate_every, "Epochs between evaluations; 0: at the end only")
      ->check(CLI::Range(0, 100000))
      ->capture_default_str();
  app.add_option("--workers", settings.workers, "Threads that decode and augment images")
      ->check(CLI::Range(1, 256))
      ->capture_default_str();
  app.add_option("--output", settings.output, "Folder of everything that is written")->capture_default_str();
  app.add_option("--checkpoint-every", settings.checkpoint_every, "Steps between checkpoints; 0: none")
      ->check(CLI::Range(0, std::numeric_limits<int>::max()))
      ->capture_default_str();
  app.add_flag("--resume", settings.resume, "Go on from the checkpoint in --output, where there is one");
  app.add_flag("--quick", quick, "A few images, small crops, two epochs: does it run?");
  auto const complete = [&] {
    if (quick) {
      if (epochs->empty()) settings.epochs = 2;
      if (batch->empty()) settings.batch_size = 4;
      if (limit->empty()) options.data.limit = 24;
      if (crop.empty()) crop = "64x64";
    }
    bool const folder = data->count() > 0;
    if (folder && options.data.folder.empty()) refuse("--data: the name is empty. Name a folder");
    if (!folder && (!classes.empty() || !ignore->empty())) {
      refuse("--classes and --ignore describe the folder of --data, which is not given. Leave them out");
    }
    if (settings.output.empty()) refuse("--output: the name is empty. Name a folder");
    options.data.class_names = parse_classes(classes.empty() ? std::to_string(network_sizes().classes) : classes);
    options.data.workers = settings.workers;
    settings.crop = parse_extent(!crop.empty() ? crop : folder ? "180x240" : "96x96");
    settings.slide = evaluation == "slide";
    if (settings.device == "cuda" && !(abilities.built_with_cuda && cuda_built)) {
      refuse(
          "--device cuda: this program was built without CUDA. Build it where CMake finds the CUDA toolkit and cuDNN, "
          "or use --device cpu");
    }
    if (settings.device == "cuda" && !abilities.gpu_found)
      refuse("--device cuda: the CUDA runtime finds no GPU. Run on a machine with one, or use --device cpu");
    if (settings.policy.empty()) {
      settings.policy = settings.device == "cuda"
                            ? first_built(settings.model, "cuda", {"amp-fp16", "amp-bf16", "o2", "o3", "fp32"})
                            : first_built(settings.model, "cpu", {"amp-bf16", "fp32", "amp-fp16", "o2", "o3"});
    }
    settings.scale = parse_scale(scale, settings.policy);
    require_built(settings.model, settings.policy, settings.device);
    if (options.compare && settings.policy == "fp32")
      refuse("--compare --policy fp32: fp32 is one side of the comparison. Name a mixed policy as the other");
    if (options.compare) require_built(settings.model, "fp32", settings.device);
    if (settings.resume && settings.checkpoint_every == 0)
      refuse("--resume --checkpoint-every 0: a run without checkpoints cannot be resumed. Leave one out");
  };
  if (support::parse(app, "segment", argc, argv, exit_code, complete)) return options;
  return std::nullopt;
}

}  // namespace segment
