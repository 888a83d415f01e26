// SPDX-License-Identifier: Apache-2.0
// Checkpoints: a run that loads another one's state goes on bit for bit, and what does not fit is refused by name.
#include "training_runs.hpp"

namespace mixprec::test {
namespace {

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
