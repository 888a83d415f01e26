// SPDX-License-Identifier: Apache-2.0
// Whole training steps: every policy learns, a skipped step changes nothing, micro-batches add up to the batch.
#include "optimizer_arrays.hpp"

namespace mixprec::test {
namespace {

struct Classifier {
  nn::Conv2d<1, 8, 3, nn::Conv2dOptions{.padding = 1, .bias = false}> conv;
  nn::BatchNorm2d<8> bn;
  nn::GlobalAvgPool2d pool;
  nn::Linear<8, 3> fc;
  MIXPREC_MODULE(conv, bn, pool, fc)
  constexpr auto operator()(auto const& x) const { return fc(pool(relu(bn(conv(x))))); }
};
using Dropping = nn::Sequential<nn::Linear<6, 16>, nn::ReLU, nn::Dropout<0.5>, nn::Linear<16, 3>>;
using Perceptron = nn::Sequential<nn::Linear<6, 16>, nn::ReLU, nn::Linear<16, 3>>;

struct Loss {
  auto operator()(auto& net, auto const& image, auto const& label) const { return cross_entropy(net(image), label); }
};

constexpr int images = 24;

/// Three kinds of 8x8 images: horizontal stripes, vertical stripes, a chess board, with noise.
std::vector<float> stripes() {
  std::mt19937 generator(1);
  std::normal_distribution<float> noise(0, 0.2f);
  std::vector<float> pixels;
  for (int image = 0; image < images; ++image)
    for (int y = 0; y < 8; ++y)
      for (int x = 0; x < 8; ++x) {
        int const phase = image % 3 == 0 ? y : image % 3 == 1 ? x : x + y;
        pixels.push_back((phase % 2 == 0 ? 1.0f : -1.0f) + noise(generator));
      }
  return pixels;
}
std::vector<std::int32_t> kinds(int count = images) {
  std::vector<std::int32_t> labels;
  for (int image = 0; image < count; ++image) labels.push_back(image % 3);
  return labels;
}
std::vector<float> features(int rows) {
  std::mt19937 generator(2);
  std::vector<float> values;
  for (double const value : draw(generator, static_cast<std::size_t>(rows) * 6, Draw::smooth))
    values.push_back(static_cast<float>(value));
  return values;
}

template <class M, class S>
double train(M& model, S const& scaler, int steps) {
  Sgd opt{model, {.momentum = 0.9}};
  Step step{model, opt, scaler, Constant{.lr = 0.05}, Loss{}};
  auto const pixels = stripes();
  auto const labels = kinds();
  double first = 0;
  for (int index = 0; index < steps; ++index) {
    step(HostTensor{pixels.data(), Shape{images, 1, 8, 8}}, HostTensor{labels.data(), Shape{images}});
    if (index == 0) first = step.loss();
  }
  CHECK(first > 0.7);
  CHECK(step.result().taken);
  CHECK(step.result().step + step.result().skipped == steps);
  return step.loss();
}

TEST_CASE("a small problem is learnt under every policy") {
  for_each_policy([&]<class Policy>() {
    Model<Classifier, Policy, TestBackend> model{3};
    if constexpr (Policy::low == DType::float16) {
      CHECK(train(model, Scaler<Dynamic>({.init_scale = 1024}), 60) < 0.1);
    } else {
      CHECK(train(model, Scaler<NoScaler>{}, 60) < 0.1);
    }
  });
}

TEST_CASE(
    "a step refuses another model's optimizer, another model's values, negative extents, and has no loss before") {
  auto const values = features(12);
  auto const labels = kinds(12);
  Model<Perceptron, Fp32, TestBackend> net{3}, other{4};
  Sgd opt{net, {}}, opt_of_other{other, {}};
  Scaler<NoScaler> const scaler;
  CHECK_THROWS_WITH_AS((Step{net, opt_of_other, scaler, Constant{.lr = 0.1}, Loss{}}),
                       doctest::Contains("another model"), Error);
  Step step{net, opt, scaler, Constant{.lr = 0.1}, Loss{}};
  CHECK(std::isnan(step.loss()));
  CHECK_THROWS_WITH_AS(step(HostTensor{values.data(), Shape{-1, 6}}, HostTensor{labels.data(), Shape{12}}),
                       doctest::Contains("-1 elements"), Error);
  auto const mixes = [&](auto& model, auto const& x, auto const&) { return mse_loss(model(x), other(x)); };
  Step mixed{net, opt, scaler, Constant{.lr = 0.1}, mixes};
  CHECK_THROWS_WITH_AS(
      step(HostTensor{static_cast<float const*>(nullptr), Shape{12, 6}}, HostTensor{labels.data(), Shape{12}}),
      "mixprec: Step: an input of 72 elements has a null pointer. Give the address of the batch in host "
      "memory.",
      Error);
  CHECK_THROWS_WITH_AS(mixed(HostTensor{values.data(), Shape{12, 6}}, HostTensor{labels.data(), Shape{12}}),
                       doctest::Contains("belong to two models"), Error);
}

TEST_CASE("a skipped step changes no parameter, no momentum, no EMA and no schedule, and halves the scale") {
  auto const values = features(12);
  auto const labels = kinds(12);
  auto const take = [&](auto& step) {
    step(HostTensor{values.data(), Shape{12, 6}}, HostTensor{labels.data(), Shape{12}});
  };
  auto const make_options = [] { return StepOptions{.ema = Ema{.decay = 0.5}}; };
  StepDecay const decay{.lr = 0.1, .gamma = 0.5, .every = 1};

  // Four taken steps, and the same with a skipped one in the middle.
  Model<Perceptron, Amp<float16>, TestBackend> plain{3}, skipping{3};
  Sgd plain_opt{plain, {.momentum = 0.9}}, skipping_opt{skipping, {.momentum = 0.9}};
  Scaler<Dynamic> const scaler({.init_scale = 256});
  Step plain_step{plain, plain_opt, scaler, decay, Loss{}, make_options()};
  Step skipping_step{skipping, skipping_opt, scaler, decay, Loss{}, make_options()};
  for (int index = 0; index < 2; ++index) take(plain_step), take(skipping_step);

  auto const before = state_of(skipping);
  auto const averages = emas_of(skipping, skipping_opt), momentum = first_states_of(skipping, skipping_opt);
  CHECK(largest(averages.at(0)) > 0);
  CHECK(largest(momentum.at(0)) > 0);
  StepState const steps_before = skipping_step.step_snapshot();
  ScalerState scaler_before = skipping_step.scaler_snapshot();
  ScalerState huge = scaler_before;
  huge.scale = 0x1p100f;
  skipping_step.restore(huge, steps_before);
  take(skipping_step);
  StepResult const result = skipping_step.result();
  CHECK_FALSE(result.taken);
  CHECK(result.found_inf);
  CHECK(result.scale == 0x1p99f);
  CHECK(result.step == steps_before.step);
  CHECK(result.skipped == scaler_before.steps_skipped + 1);
  CHECK(result.learning_rate == steps_before.learning_rate);
  CHECK(state_of(skipping) == before);
  CHECK(emas_of(skipping, skipping_opt) == averages);
  CHECK(first_states_of(skipping, skipping_opt) == momentum);

  skipping_step.restore(scaler_before, skipping_step.step_snapshot());
  for (int index = 0; index < 2; ++index) take(plain_step), take(skipping_step);
  CHECK(skipping_step.result().taken);
  // Equal from here on only if momentum, EMA and schedule stood still too.
  CHECK(state_of(skipping) == state_of(plain));
  CHECK(emas_of(skipping, skipping_opt) == emas_of(plain, plain_opt));
  CHECK(skipping_step.result().learning_rate == plain_step.result().learning_rate);
  CHECK(skipping_step.step_snapshot().step == plain_step.step_snapshot().step);
}

TEST_CASE("a static scale that overflows half skips every step and leaves the model as it was") {
  Model<Perceptron, Amp<float16>, TestBackend> model{3};
  Sgd opt{model, {.momentum = 0.9}};
  Scaler<Static> const scaler({.scale = 0x1p100});
  auto const initial = state_of(model);
  Step step{model, opt, scaler, Constant{.lr = 0.1}, Loss{}};
  auto const values = features(12);
  auto const labels = kinds(12);
  for (int index = 0; index < 3; ++index) {
    step(HostTensor{values.data(), Shape{12, 6}}, HostTensor{labels.data(), Shape{12}});
    // The initial values were in double until the first call laid the model out in float.
    CHECK_EQ(difference(state_of(model), initial, 1e-7), "");
  }
  CHECK(step.result().skipped == 3);
  CHECK(step.result().step == 0);
  CHECK(step.result().scale == 0x1p100f);
  CHECK(std::isfinite(step.loss()));
}

TEST_CASE("two micro-batches make the step of the doubled batch") {
  auto const values = features(12);
  auto const labels = kinds(12);
  Model<Perceptron, Fp32, TestBackend> whole{3}, halves{ModelOptions{.seed = 3, .accumulate_gradients = true}};
  Sgd whole_opt{whole, {.momentum = 0.9}}, halves_opt{halves, {.momentum = 0.9}};
  Scaler<NoScaler> const scaler;
  Step whole_step{whole, whole_opt, scaler, Constant{.lr = 0.1}, Loss{}};
  Step halves_step{halves, halves_opt, scaler, Constant{.lr = 0.1}, Loss{}, {.accumulate = 2}};
  for (int index = 0; index < 3; ++index) {
    whole_step(HostTensor{values.data(), Shape{12, 6}}, HostTensor{labels.data(), Shape{12}});
    auto const before = state_of(halves);
    halves_step(HostTensor{values.data(), Shape{6, 6}}, HostTensor{labels.data(), Shape{6}});
    CHECK_EQ(difference(state_of(halves), before, 1e-7), "");
    halves_step(HostTensor{values.data() + 36, Shape{6, 6}}, HostTensor{labels.data() + 6, Shape{6}});
  }
  CHECK(halves_step.result().step == 3);
  CHECK_EQ(difference(state_of(halves), state_of(whole), 1e-5), "");
}

TEST_CASE("micro-batches draw dropout masks of their own, as a graph and without one") {
  auto const values = features(12);
  auto const labels = kinds(12);
  using M = Model<Dropping, Amp<float16>, TestBackend>;
  Scaler<Static> const scaler({.scale = 64});
  auto const losses_of = [&](bool graph, NamedValues& end) {
    M model{ModelOptions{.seed = 3, .accumulate_gradients = true}};
    Sgd opt{model, {.momentum = 0.9}};
    Step step{model, opt, scaler, Constant{.lr = 0.1}, Loss{}, {.accumulate = 4, .graph = graph}};
    Values losses;
    for (int index = 0; index < 5 * 4; ++index) {
      step(HostTensor{values.data(), Shape{12, 6}}, HostTensor{labels.data(), Shape{12}});
      losses.push_back(step.loss());
    }
    CHECK(step.captures() == (graph && TestBackend::captures ? 3 : 0));
    end = state_of(model);
    return losses;
  };
  NamedValues with_graph, without_graph;
  Values const losses = losses_of(true, with_graph);
  CHECK(losses_of(false, without_graph) == losses);
  CHECK(with_graph == without_graph);
  // All micro-batches of a step have the same rows and parameters: only the masks differ.
  for (std::size_t first = 0; first < losses.size(); first += 4)
    for (std::size_t a = first; a < first + 4; ++a)
      for (std::size_t b = first; b < a; ++b) CHECK(losses[a] != losses[b]);

  // A loop by hand draws the same.
  M model{ModelOptions{.seed = 3, .accumulate_gradients = true}};
  Sgd opt{model, {.momentum = 0.9}};
  Trainer trainer{model, opt, scaler, Constant{.lr = 0.1}};
  auto const x = model.tensor<float>(Shape{12, 6});
  auto const label = model.tensor<std::int32_t>(Shape{12});
  copy_from_host(model.stream(), x, values.data(), values.size());
  copy_from_host(model.stream(), label, labels.data(), labels.size());
  for (int index = 0; index < 5; ++index) {
    Gradients<Scaled> scaled;
    for (int micro = 0; micro < 4; ++micro) scaled = trainer.backward(Loss{}(model, x, label), 0.25);
    CHECK(trainer.step(unscale(std::move(scaled))).taken);
  }
  CHECK(state_of(model) == with_graph);
}

TEST_CASE("training mode, extents and dtypes each get graphs and buffers of their own") {
  auto const values = features(96);
  auto const labels = kinds(96);
  std::vector<float16> halves;
  for (float const value : values) halves.push_back(convert<float16>(value));
  using M = Model<Dropping, Amp<float16>, TestBackend>;
  Scaler<Static> const scaler({.scale = 64});
  auto const losses_of = [&](bool graph) {
    M model{3};
    Sgd opt{model, {.momentum = 0.9}};
    Step step{model, opt, scaler, Constant{.lr = 0.1}, Loss{}, {.graph = graph}};
    Values losses;
    auto const three_times = [&](auto const& rows) {
      for (int index = 0; index < 3; ++index) {
        step(HostTensor{rows.data(), Shape{96, 6}}, HostTensor{labels.data(), Shape{96}});
        losses.push_back(step.loss());
      }
    };
    three_times(halves);
    std::size_t const before = model.session().arena().live();
    three_times(values);
    // At least the inputs' own buffers: those of the other dtype are too small.
    CHECK(model.session().arena().live() >= before + arena_rounded(96 * 6 * sizeof(float)) + arena_rounded(96 * 4));
    model.set_training(false);
    three_times(values);
    model.set_training(true);
    three_times(values);
    CHECK(step.captures() == (graph && TestBackend::captures ? 3 : 0));
    return losses;
  };
  Values const losses = losses_of(true);
  CHECK(losses == losses_of(false));
}

TEST_CASE("one capture serves a hundred steps on new data, and other batch extents get a graph of their own") {
  using M = Model<Dropping, Amp<float16>, TestBackend>;
  auto const values = features(112);
  auto const labels = kinds(112);
  Scaler<Static> const scaler({.scale = 64});
  auto const losses_of = [&](bool graph) {
    M model{3};
    Sgd opt{model, {.momentum = 0.9}};
    Step step{model, opt, scaler, Constant{.lr = 0.1}, Loss{}, {.graph = graph}};
    Values losses;
    auto const take = [&](int steps, std::int64_t rows) {
      for (int index = 0; index < steps; ++index) {
        step(HostTensor{values.data() + 6 * index, Shape{rows, 6}}, HostTensor{labels.data() + index, Shape{rows}});
        losses.push_back(step.loss());
      }
    };
    bool const captures = graph && TestBackend::captures;
    take(100, 12);
    CHECK(step.captures() == (captures ? 1 : 0));
    take(3, 7);
    CHECK(step.captures() == (captures ? 2 : 0));
    take(3, 12), take(3, 7);
    CHECK(step.captures() == (captures ? 2 : 0));
    CHECK(step.graph_note() == "");
    return losses;
  };
  CHECK(losses_of(true) == losses_of(false));
}

/// A loss that waits for the device, which no CUDA graph can hold.
struct WaitingLoss {
  auto operator()(auto& net, auto const& x, auto const& label) const {
    TestBackend::wait(net.stream());
    return cross_entropy(net(x), label);
  }
};

TEST_CASE("a step that cannot be captured says why, and runs eagerly to the same results") {
  auto const values = features(12);
  auto const labels = kinds(12);
  auto const losses_of = [&](auto const& loss) {
    Model<Perceptron, Fp32, TestBackend> model{3};
    Sgd opt{model, {.momentum = 0.9}};
    Scaler<NoScaler> const scaler;
    Step step{model, opt, scaler, Constant{.lr = 0.1}, loss};
    Values losses;
    for (int index = 0; index < 5; ++index) {
      step(HostTensor{values.data(), Shape{12, 6}}, HostTensor{labels.data(), Shape{12}});
      losses.push_back(step.loss());
    }
    return std::pair{losses, step.graph_note()};
  };
  auto const [losses, note] = losses_of(WaitingLoss{});
  CHECK(losses == losses_of(Loss{}).first);
  if (!TestBackend::captures) return;
  CHECK_MESSAGE(note.starts_with("the step runs eagerly, because it could not be captured: "), note);
  CHECK_MESSAGE(note.find("cudaStreamSynchronize") != std::string::npos, note);
}

struct SmallWorkspace : Fp32 {
  static constexpr std::size_t workspace_cap = MiB(7);
};
TEST_CASE("the stream of a model and of its inference takes the policy's workspace cap") {
  Model<Perceptron, SmallWorkspace, TestBackend> model{3};
  auto inference = model.eval();
  auto const check = []<class Stream>(Stream& stream) {
    if constexpr (requires { stream.workspace_cap(); }) CHECK(stream.workspace_cap() == MiB(7));
  };
  check(model.stream()), check(inference.stream());
}

/// Loss, and a throw where the flag says so, in the middle of a forward pass.
struct ThrowingLoss {
  bool const* throws;
  auto operator()(auto& net, auto const& x, auto const& label) const {
    auto const y = net(x);
    if (*throws) throw Error("the loss is in a bad mood.");
    return cross_entropy(y, label);
  }
};

TEST_CASE("a throw in a micro-step drops the step's gradients, and the next batch begins a new one") {
  auto const values = features(12);
  auto const labels = kinds(12);
  bool throws = false, never = false;
  Model<Perceptron, Fp32, TestBackend> model{ModelOptions{.seed = 3, .accumulate_gradients = true}};
  Model<Perceptron, Fp32, TestBackend> other{ModelOptions{.seed = 3, .accumulate_gradients = true}};
  Sgd opt{model, {.momentum = 0.9}}, other_opt{other, {.momentum = 0.9}};
  Scaler<NoScaler> const scaler;
  Step step{model, opt, scaler, Constant{.lr = 0.1}, ThrowingLoss{&throws}, {.accumulate = 2, .graph = false}};
  Step plain{other, other_opt, scaler, Constant{.lr = 0.1}, ThrowingLoss{&never}, {.accumulate = 2, .graph = false}};
  auto const take = [&](auto& which, int half) {
    which(HostTensor{values.data() + 36 * half, Shape{6, 6}}, HostTensor{labels.data() + 6 * half, Shape{6}});
  };
  for (int index = 0; index < 2; ++index) {
    take(step, 1);
    throws = true;
    CHECK_THROWS_AS(take(step, 1), Error);
    throws = false;
    for (int half : {0, 1}) take(step, half), take(plain, half);
    CHECK(step.result().step == index + 1);
    CHECK(state_of(model) == state_of(other));
  }
}

TEST_CASE("accumulate without gradients that can add up is refused with a sentence") {
  Model<Perceptron, Fp32, TestBackend> model{3};
  Sgd opt{model};
  Scaler<NoScaler> const scaler;
  auto const make = [&] { Step step{model, opt, scaler, Constant{.lr = 0.1}, Loss{}, {.accumulate = 2}}; };
  CHECK_THROWS_WITH_AS(make(),
                       "mixprec: Step: accumulate is 2, but the model's gradients cannot add up. Build the model with "
                       ".accumulate_gradients = true.",
                       Error);
}

}  // namespace
}  // namespace mixprec::test
