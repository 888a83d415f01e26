// SPDX-License-Identifier: Apache-2.0
// Runs of Step and of Trainer with everything that a state holds: momentum, scaler, schedule, EMA, dropout.
#pragma once

#include "optimizer_arrays.hpp"

namespace mixprec::test {
namespace {

struct SavedNet {
  nn::Conv2d<1, 8, 3, nn::Conv2dOptions{.padding = 1, .bias = false}> conv;
  nn::BatchNorm2d<8> bn;
  nn::GlobalAvgPool2d pool;
  nn::Dropout<0.25> drop;
  nn::Linear<8, 3> fc;
  nn::Linear<8, 2> unused;
  MIXPREC_MODULE(conv, bn, pool, drop, fc, unused)
  constexpr auto operator()(auto const& x) const { return fc(drop(pool(relu(bn(conv(x)))))); }
};
struct SavedLoss {
  auto operator()(auto& net, auto const& image, auto const& label) const { return cross_entropy(net(image), label); }
};
constexpr Shape saved_input{6, 1, 6, 6};

template <class Policy>
auto saved_scaler() {
  if constexpr (Policy::low == DType::float16) {
    return Scaler<Dynamic>({.init_scale = 1024, .growth_interval = 2});
  } else {
    return Scaler<NoScaler>{};
  }
}
ScheduleSettings saved_schedule() { return Cosine{.lr = 0.1, .total_steps = 20}; }

/// A run of Step or of Trainer; each takes batches by number and gives the loss.
template <class Policy, class Options>
struct StepRun {
  using Net = Model<SavedNet, Policy, TestBackend>;
  using Opt = Optimizer<Net, Options>;
  using T = input_of_t<Policy>;
  Net net;
  Opt opt;
  Step<Net, Opt, decltype(saved_scaler<Policy>()), SavedLoss> training;

  StepRun(std::uint64_t seed, Options const& options)
      : net(ModelOptions{.seed = seed, .accumulate_gradients = true}),
        opt(net, options),
        training(net, opt, saved_scaler<Policy>(), saved_schedule(), SavedLoss{},
                 StepOptions{.ema = Ema{.decay = 0.9, .warm_up = 2}, .accumulate = 2}) {}

  void micro_step(unsigned number) {
    auto const [pixels, labels] = batch(number);
    training(HostTensor{pixels.data(), saved_input}, HostTensor{labels.data(), Shape{saved_input[0]}});
  }
  double take(unsigned number) {
    micro_step(2 * number), micro_step(2 * number + 1);
    return training.loss();
  }

  static std::pair<std::vector<T>, std::vector<std::int32_t>> batch(unsigned number) {
    std::mt19937 generator(number);
    std::vector<T> pixels;
    for (double const value : draw(generator, static_cast<std::size_t>(saved_input.size()), Draw::smooth))
      pixels.push_back(convert<T>(value));
    return {pixels, {0, 1, 2, 0, 1, 2}};
  }
};

template <class Policy, class Options>
struct TrainerRun {
  using Net = Model<SavedNet, Policy, TestBackend>;
  using Opt = Optimizer<Net, Options>;
  using T = input_of_t<Policy>;
  Net net;
  Opt opt;
  Trainer<Net, Opt, decltype(saved_scaler<Policy>())> training;

  TrainerRun(std::uint64_t seed, Options const& options)
      : net(ModelOptions{.seed = seed}),
        opt(net, options),
        training(net, opt, saved_scaler<Policy>(), saved_schedule(), TrainerOptions{.ema = Ema{.decay = 0.9}}) {}

  double take(unsigned number) {
    auto const [pixels, labels] = StepRun<Policy, Options>::batch(number);
    auto const image = net.template tensor<T>(saved_input);
    auto const label = net.template tensor<std::int32_t>(Shape{saved_input[0]});
    copy_from_host(net.stream(), image, pixels.data(), pixels.size());
    copy_from_host(net.stream(), label, labels.data(), labels.size());
    auto const loss = SavedLoss{}(net, image, label);
    double const value = to_host(net.stream(), loss.tensor()).front();
    auto const result = training.step(unscale(training.backward(loss)));
    CHECK(result.taken);
    return value;
  }
};

std::string refusal(auto const& action) {
  try {
    action();
  } catch (Error const& error) {
    return error.what();
  }
  return "no error";
}

}  // namespace
}  // namespace mixprec::test
