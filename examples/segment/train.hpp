// SPDX-License-Identifier: Apache-2.0
// The training run as a template: one network under one policy on one backend. Whatever does not depend on these types
// stands in other files, so that each of the object files made from this one compiles as fast as it can.
#pragma once

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <optional>

#include <mixprec/data/segmentation_loader.hpp>
#include <mixprec/mixprec.hpp>
#include <mixprec/models/segmentation.hpp>
#include <mixprec/train/checkpoint.hpp>
#include <mixprec/train/weights.hpp>

#include "evaluate.hpp"
#include "run.hpp"
#include "run_log.hpp"

namespace segment {

namespace mp = mixprec;

/// The model's inference object as evaluation wants it.
template <class Net, class Policy, class B>
class ModelSegmenter final : public Segmenter {
 public:
  explicit ModelSegmenter(mp::Model<Net, Policy, B>& model) : network_(model.eval()) {}

  int outputs() const override { return network_sizes().classes; }
  std::vector<std::int32_t> classes(std::span<float const> image, mp::ImageExtent extent) override {
    return mp::to_host(network_.stream(), argmax(resize(run(image, extent), size_of(extent))).tensor());
  }
  std::vector<float> logits(std::span<float const> image, mp::ImageExtent extent) override {
    auto const resized = resize(run(image, extent), size_of(extent)).value();
    auto const values = mp::to_host(network_.stream(), resized.tensor());
    std::vector<float> result;
    result.reserve(values.size());
    for (auto const value : values) result.push_back(static_cast<float>(value));
    return result;
  }

 private:
  static mp::ResizeSize size_of(mp::ImageExtent extent) { return {extent.height, extent.width}; }

  // Logits at the network's own resolution, as a value that ops take.
  auto run(std::span<float const> image, mp::ImageExtent extent) {
    auto const input = network_.template tensor<float>(
        mp::Shape{std::int64_t{1}, std::int64_t{3}, std::int64_t{extent.height}, std::int64_t{extent.width}});
    mp::copy_from_host(network_.stream(), input, image.data(), image.size());
    return network_.value(network_(input));
  }

  mp::Inference<Net, Policy, B> network_;
};

template <class Net, class Policy, class B, class Scaler>
RunResult train_scaled(RunRequest const& request, Scaler const& scaler) {
  Settings const& settings = request.settings;
  mp::SegmentationLoader loader{request.data.train,
                                {.batch_size = settings.batch_size,
                                 .drop_last = true,
                                 .seed = settings.seed,
                                 .augmentation = mp::Augmentation{.crop = settings.crop},
                                 .workers = settings.workers}};
  std::int64_t const per_epoch = loader.batches_per_epoch();
  RunLog log(request, loader.options().normalization, per_epoch);

  mp::Model<Net, Policy, B> net{settings.seed};
  if constexpr (requires { net.stream().set_allow_tf32(true); }) net.stream().set_allow_tf32(settings.tf32);
  mp::Sgd optimizer{net, {.momentum = settings.momentum, .weight_decay = settings.weight_decay}};
  std::int64_t const steps = settings.epochs * per_epoch;
  mp::Poly const schedule{.lr = settings.learning_rate,
                          .power = settings.power,
                          .total_steps = steps,
                          .warmup = {.steps = std::min(settings.warmup, steps / 10)}};
  mp::Step step{net, optimizer, scaler, schedule, mp::models::SegmentationLoss{}};
  auto const evaluated = [&](std::vector<mp::LabelMap>* samples) {
    ModelSegmenter<Net, Policy, B> network(net);
    return evaluate(network, request.data, loader.options().normalization, settings, samples);
  };

  std::string const checkpoint = request.path("checkpoint.safetensors");
  mp::CheckpointPosition at;
  if (struct stat status{}; settings.resume && (::stat(checkpoint.c_str(), &status) == 0 || errno != ENOENT)) {
    mp::Checkpoint const saved = mp::load_checkpoint(step, checkpoint, log.identity());
    at = saved.position;
    log.resume(saved.notes, saved.warnings, at.epoch * per_epoch + at.batch);
  }
  for (; at.epoch < settings.epochs; at = {at.epoch + 1, 0}) {
    std::int64_t const done = at.epoch + 1;
    for (mp::HostBatch const& batch : loader.epoch(at.epoch, at.batch)) {
      mp::Shape const labels{batch.count, std::int64_t{batch.height}, std::int64_t{batch.width}};
      log.begin_step();
      step(mp::HostTensor{batch.images.data(), mp::Shape{labels[0], std::int64_t{3}, labels[1], labels[2]}},
           mp::HostTensor{batch.labels.data(), labels});
      // Reading the loss waits for the device: a plain training loop would not do it in every step.
      log.end_step(step.loss(), step.result(), net.session().arena().high_water() + step.arena().high_water());
      // An epoch's evaluation comes before its last checkpoint, which would not know that it is missing.
      bool const last = ++at.batch == per_epoch;
      if (last && log.evaluation_due(done)) log.evaluated(evaluated(nullptr), done);
      if (log.checkpoint_due()) {
        mp::save_checkpoint(step, checkpoint, last ? mp::CheckpointPosition{done, 0} : at, log.notes());
      }
    }
    log.end_epoch(done);
  }
  mp::save_weights(net, request.path("weights.safetensors"));
  std::vector<mp::LabelMap> samples;
  log.evaluated(evaluated(&samples), settings.epochs);
  return std::move(log).result(std::move(samples), step.graph_note());
}

/// Trains `Net` under `Policy` on `B` as the request asks, with the scaler that it names.
template <class Net, class Policy, class B>
RunResult train(RunRequest const& request) {
  if constexpr (Policy::low == mp::DType::float16) {
    if (request.settings.scale == "dynamic") return train_scaled<Net, Policy, B>(request, mp::Scaler<mp::Dynamic>{});
    return train_scaled<Net, Policy, B>(
        request, mp::Scaler<mp::Static>{{.scale = std::strtod(request.settings.scale.c_str(), nullptr)}});
  } else {
    return train_scaled<Net, Policy, B>(request, mp::Scaler<mp::NoScaler>{});
  }
}

}  // namespace segment
