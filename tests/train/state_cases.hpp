// SPDX-License-Identifier: Apache-2.0
// Checkpoints: a run that loads another one's state goes on bit for bit, and what does not fit is refused by name.
#include "optimizer_arrays.hpp"

namespace mixprec::test {
namespace {

struct SavedNet {
  nn::Conv2d<1, 8, 3, nn::Conv2dOptions{.padding = 1, .bias = false}> conv;
  nn::BatchNorm2d<8> bn;
  nn::GlobalAvgPool2d pool;
  nn::Dropout<250> drop;
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

/// A run of Step or of Trainer; each takes batches by number.
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
  void take(unsigned number) { micro_step(2 * number), micro_step(2 * number + 1); }

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

  void take(unsigned number) {
    auto const [pixels, labels] = StepRun<Policy, Options>::batch(number);
    auto const image = net.template tensor<T>(saved_input);
    auto const label = net.template tensor<std::int32_t>(Shape{saved_input[0]});
    copy_from_host(net.stream(), image, pixels.data(), pixels.size());
    copy_from_host(net.stream(), label, labels.data(), labels.size());
    auto const result = training.step(unscale(training.backward(SavedLoss{}(net, image, label))));
    CHECK(result.taken);
  }
};

template <class Run, class Options>
void check_resumes(Options const& options) {
  Run whole(5, options), first(5, options), second(77, options), late(78, options);
  for (unsigned number = 0; number < 6; ++number) whole.take(number);
  for (unsigned number = 0; number < 3; ++number) first.take(number);
  StateDict const saved = first.training.state();
  second.training.load_state(saved);
  CHECK(second.training.state() == saved);  // before the model has memory
  for (unsigned number = 3; number < 6; ++number) second.take(number);
  CHECK(second.training.state() == whole.training.state());
  CHECK(second.training.state() != saved);

  // Into objects that have trained already, and in another order.
  for (unsigned number = 0; number < 4; ++number) late.take(number);
  late.training.load_state(StateDict(saved.rbegin(), saved.rend()));
  CHECK(late.training.state() == saved);
  for (unsigned number = 3; number < 6; ++number) late.take(number);
  CHECK(late.training.state() == whole.training.state());
}

TEST_CASE("a run that loads the state of another goes on bit for bit") {
  check_resumes<StepRun<Fp32, SgdOptions>>(SgdOptions{.momentum = 0.9, .dampening = 0.1});
  check_resumes<StepRun<Amp<float16>, AdamWOptions>>(AdamWOptions{});
  check_resumes<TrainerRun<Amp<float16>, SgdOptions>>(SgdOptions{.momentum = 0.9, .nesterov = true});
  check_resumes<TrainerRun<Amp<bfloat16>, AdamWOptions>>(AdamWOptions{.max_norm = 0.1});
}

std::string refusal(auto const& action) {
  try {
    action();
  } catch (Error const& error) {
    return error.what();
  }
  return "no error";
}

TEST_CASE("a state has PyTorch's names, and one that does not fit changes nothing") {
  using Run = StepRun<Amp<float16>, AdamWOptions>;
  Run run(5, {}), other(6, {});
  run.take(0);
  StateDict const saved = run.training.state();
  auto const find = [](StateDict const& state, std::string const& name) -> StateTensor const* {
    for (StateTensor const& tensor : state)
      if (tensor.name == name) return &tensor;
    return nullptr;
  };
  for (char const* const name :
       {"model.conv.weight", "model.bn.running_mean", "model.unused.weight", "optimizer.exp_avg.conv.weight",
        "optimizer.exp_avg_sq.fc.bias", "ema.bn.weight", "scaler.scale", "step.step", "random.seed"})
    CHECK_MESSAGE(find(saved, name) != nullptr, name);
  CHECK(find(saved, "optimizer.exp_avg.conv.weight")->shape == std::vector<std::int64_t>{8, 1, 3, 3});
  CHECK(find(saved, "optimizer.exp_avg.unused.weight") == nullptr);

  StateDict const before = other.training.state();
  auto const refused = [&](auto const& change) {
    StateDict state = saved;
    change(state);
    std::string const message = refusal([&] { other.training.load_state(state); });
    CHECK(other.training.state() == before);
    return message;
  };
  CHECK(refused([](StateDict& state) { state.erase(state.begin()); }) ==
        "mixprec: state: \"model.conv.weight\" is missing. Load what state() has returned, whole.");
  CHECK(refused([](StateDict& state) { state.push_back(state.front()); }) ==
        "mixprec: state: \"model.conv.weight\" is given twice. Remove one.");
  CHECK(refused([](StateDict& state) {
          state.front().shape.pop_back();
        }).starts_with("mixprec: state: \"model.conv.weight\" has another dtype or shape"));
  CHECK(refused([](StateDict& state) {
          state.front().name = "model.stem.weight";
        }).starts_with("mixprec: state: \"model.conv.weight\" is missing."));
  CHECK(refused([&](StateDict& state) {
          state.push_back(*find(saved, "ema.fc.bias"));
          state.back().name = "momentum";
        }).starts_with("mixprec: state: \"momentum\" has no place here."));

  run.micro_step(2);
  CHECK(refusal([&] { (void)run.training.state(); }) ==
        "mixprec: state: 1 backward passes of a step have been made, and their gradients are no part of the state. "
        "Finish the step first.");
  CHECK(refusal([&] { run.training.load_state(saved); }).starts_with("mixprec: load_state: 1 backward passes"));
}

TEST_CASE("eval_ema runs the model on its moving averages") {
  using Run = StepRun<Amp<float16>, SgdOptions>;
  Run run(5, {.momentum = 0.9});
  for (unsigned number = 0; number < 4; ++number) run.take(number);
  auto const pixels = Run::batch(9).first;
  auto const output = [&](auto& inference) {
    auto const x = inference.template tensor<float>(saved_input);
    copy_from_host(inference.stream(), x, pixels.data(), pixels.size());
    auto const y = inference(x);
    return values_of(inference.session(), y);
  };
  auto averaged = run.training.eval_ema();
  auto plain = run.net.eval();
  Values const got = output(averaged);
  CHECK(got != output(plain));
  for (StateTensor const& tensor : run.training.state())
    if (tensor.name.starts_with("ema."))
      run.net.assign(tensor.name.substr(4), detail::values_of(tensor.bytes, tensor.dtype));
  auto expected = run.net.eval();
  CHECK(output(expected) == got);

  Sgd opt{run.net};
  Step without{run.net, opt, Scaler<NoScaler>{}, Constant{.lr = 0.1}, SavedLoss{}};
  CHECK(refusal([&] { (void)without.eval_ema(); }) ==
        "mixprec: eval_ema: no EMA is kept. Give an Ema in the options, or use the model's eval().");
}

}  // namespace
}  // namespace mixprec::test
