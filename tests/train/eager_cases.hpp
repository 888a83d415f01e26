// SPDX-License-Identifier: Apache-2.0
// The eager loop: bit for bit the results of Step under every policy that trains, and calls in wrong order that only
// run time can see.
#include <functional>

#include <mixprec/train/eager.hpp>

#include "optimizer_arrays.hpp"

namespace mixprec::test {
namespace {

struct EagerNet {
  nn::Conv2d<1, 8, 3, nn::Conv2dOptions{.padding = 1, .bias = false}> conv;
  nn::BatchNorm2d<8> bn;
  nn::GlobalAvgPool2d pool;
  nn::Dropout<0.25> drop;
  nn::Linear<8, 3> fc;
  MIXPREC_MODULE(conv, bn, pool, drop, fc)
  constexpr auto operator()(auto const& x) const { return fc(drop(pool(relu(bn(conv(x)))))); }
};

struct EagerLoss {
  auto operator()(auto& net, auto const& image, auto const& label) const { return cross_entropy(net(image), label); }
};

constexpr Shape eager_input{12, 1, 6, 6};

template <class T>
std::vector<T> eager_pixels(unsigned seed) {
  std::mt19937 generator(seed);
  std::vector<T> pixels;
  for (double const value : draw(generator, static_cast<std::size_t>(eager_input.size()), Draw::smooth))
    pixels.push_back(convert<T>(value));
  return pixels;
}
std::vector<std::int32_t> eager_labels() {
  std::vector<std::int32_t> labels;
  for (int row = 0; row < eager_input[0]; ++row) labels.push_back(row % 3);
  return labels;
}

template <class Policy>
auto eager_scaler() {
  if constexpr (Policy::low == DType::float16) {
    return Scaler<Dynamic>({.init_scale = 1024, .growth_interval = 2});
  } else {
    return Scaler<NoScaler>{};
  }
}

template <class M>
std::vector<std::pair<std::string, Values>> eager_state(M& model) {
  std::vector<std::pair<std::string, Values>> state;
  for (std::string const& name : model.names()) state.emplace_back(name, model.values(name));
  return state;
}

/// One model with a trainer; `loss()` is a fresh forward pass.
template <class Policy, class Options = SgdOptions>
struct Loop {
  using Net = Model<EagerNet, Policy, TestBackend>;
  using T = input_of_t<Policy>;
  Net net;
  Optimizer<Net, Options> opt;
  Trainer<Net, Optimizer<Net, Options>, decltype(eager_scaler<Policy>())> trainer;

  explicit Loop(Options const& options = {}, TrainerOptions const& trainer_options = {}, bool accumulate = false)
      : net(ModelOptions{.seed = 5, .accumulate_gradients = accumulate}),
        opt(net, options),
        trainer(net, opt, eager_scaler<Policy>(), Cosine{.lr = 0.1, .total_steps = 20}, trainer_options) {}

  auto loss(unsigned seed = 1) {
    auto const image = net.template tensor<T>(eager_input);
    auto const label = net.template tensor<std::int32_t>(Shape{eager_input[0]});
    auto const pixels = eager_pixels<T>(seed);
    auto const labels = eager_labels();
    copy_from_host(net.stream(), image, pixels.data(), pixels.size());
    copy_from_host(net.stream(), label, labels.data(), labels.size());
    return EagerLoss{}(net, image, label);
  }
};

/// Five steps by Step and five by hand; `clip` is called between unscale and step, and clips as `options` do.
template <class Policy, class Options>
void check_equal_to_step(Options const& options, Options const& eager_options, double clip) {
  using Net = Model<EagerNet, Policy, TestBackend>;
  using T = input_of_t<Policy>;
  StepOptions const step_options{.ema = Ema{.decay = 0.5}};
  Net model{ModelOptions{.seed = 5}};
  Optimizer<Net, Options> opt{model, options};
  Step step{model, opt, eager_scaler<Policy>(), Cosine{.lr = 0.1, .total_steps = 20}, EagerLoss{}, step_options};
  Loop<Policy, Options> loop{eager_options, {.ema = Ema{.decay = 0.5}}};
  for (unsigned index = 0; index < 5; ++index) {
    auto const pixels = eager_pixels<T>(index);
    auto const labels = eager_labels();
    step(HostTensor{pixels.data(), eager_input}, HostTensor{labels.data(), Shape{eager_input[0]}});

    auto const loss = loop.loss(index);
    CHECK(values_of(loop.net.session(), loss.tensor())[0] == step.loss());
    Gradients<Scaled> scaled = loop.trainer.backward(loss);
    Gradients<Unscaled> gradients = unscale(std::move(scaled));
    if (clip > 0) clip_grad_norm(gradients, clip);
    StepResult const result = loop.trainer.step(std::move(gradients));
    StepResult const expected = step.result();
    CHECK(result.taken == expected.taken);
    CHECK(result.scale == expected.scale);
    CHECK(result.learning_rate == expected.learning_rate);
    bool const both_nan = std::isnan(result.grad_norm) && std::isnan(expected.grad_norm);
    CHECK((both_nan || result.grad_norm == expected.grad_norm));
    CHECK(result.step == expected.step);
    CHECK(result.skipped == expected.skipped);
    CHECK(eager_state(loop.net) == eager_state(model));
    auto const averages = emas_of(loop.net, loop.opt);
    CHECK(largest(averages.at(0)) > 0);
    CHECK(averages == emas_of(model, opt));
    CHECK(first_states_of(loop.net, loop.opt) == first_states_of(model, opt));
    if (index == 2) {
      // A step that is skipped where the scaler checks.
      ScalerState huge = step.scaler_snapshot();
      huge.scale = 0x1p100f;
      if (Policy::low == DType::float16) {
        step.restore(huge, step.step_snapshot());
        loop.trainer.restore(huge, loop.trainer.step_snapshot());
      }
    }
    if (index == 3 && Policy::low == DType::float16) {
      CHECK_FALSE(result.taken);
      ScalerState small = step.scaler_snapshot();
      small.scale = 512;
      step.restore(small, step.step_snapshot());
      loop.trainer.restore(small, loop.trainer.step_snapshot());
    }
  }
}

std::string error_of(std::function<void()> const& action) {
  try {
    action();
  } catch (Error const& error) {
    return error.what();
  }
  return "no error";
}

TEST_CASE("the eager loop gives the parameters, running statistics, scale and schedule of Step, bit for bit") {
  for_each_policy([&]<class Policy>() {
    check_equal_to_step<Policy>(SgdOptions{.momentum = 0.9}, SgdOptions{.momentum = 0.9}, 0);
  });
}

TEST_CASE("clip_grad_norm clips as the optimizer's own max_norm does, bit for bit") {
  for_each_policy([&]<class Policy>() {
    check_equal_to_step<Policy>(SgdOptions{.max_norm = 0.05}, SgdOptions{}, 0.05);
    check_equal_to_step<Policy>(SgdOptions{.max_norm = 0.05}, SgdOptions{.max_norm = 0.5}, 0.05);
    check_equal_to_step<Policy>(SgdOptions{.max_norm = 0.05}, SgdOptions{.max_norm = 0.05}, 0);
  });
}

TEST_CASE("AdamW in the eager loop gives the results of Step, bit for bit") {
  check_equal_to_step<Amp<bfloat16>>(AdamWOptions{}, AdamWOptions{}, 0);
  check_equal_to_step<Amp<float16>>(AdamWOptions{.max_norm = 0.1}, AdamWOptions{}, 0.1);
}

TEST_CASE(
    "scaled gradients carry the loss scale, unscaled ones do not, clipped ones have the norm that was asked for") {
  Loop<Amp<float16>> loop;
  auto scaled = loop.trainer.backward(loop.loss());
  Values const stored = scaled.values("fc.weight");
  CHECK(largest(stored) > 1);
  auto gradients = unscale(std::move(scaled));
  Values divided;
  for (double const value : stored) divided.push_back(value / 1024);
  CHECK(gradients.values("fc.weight") == divided);
  CHECK_FALSE(gradients.found_inf());

  double squares = 0;
  auto const add = [&](std::string const& name) {
    for (double const value : gradients.values(name)) squares += value * value;
  };
  auto const all = [&] {
    squares = 0;
    for (ParameterEntry const& entry : loop.net.session().parameters().entries()) add(entry.name);
    return std::sqrt(squares);
  };
  CHECK(all() == doctest::Approx(gradients.norm()).epsilon(1e-6));
  double const norm = gradients.norm();
  CHECK(norm > 0.01);
  clip_grad_norm(gradients, norm / 2);
  clip_grad_norm(gradients, 2 * norm);
  CHECK(all() == doctest::Approx(norm / 2).epsilon(1e-3));
  CHECK(gradients.norm() == norm);
  auto const result = loop.trainer.step(std::move(gradients));
  CHECK(result.taken);
  CHECK(result.grad_norm == norm);
}

TEST_CASE("several backward calls add up where the model was built for it, and are refused elsewhere") {
  // Out of training the two passes are the same: no dropout, and batch norm has fixed statistics.
  Loop<Amp<float16>> summed({.momentum = 0.9}, {}, true);
  summed.net.set_training(false);
  Gradients<Scaled> scaled;
  scaled = summed.trainer.backward(summed.loss(), 0.5);
  Values twice;
  for (double const value : scaled.values("fc.weight")) twice.push_back(2 * value);
  CHECK(largest(twice) > 0);
  scaled = summed.trainer.backward(summed.loss(), 0.5);
  CHECK(scaled.values("fc.weight") == twice);
  CHECK(summed.trainer.step(unscale(std::move(scaled))).step == 1);

  Loop<Fp32> single;
  auto first = single.trainer.backward(single.loss());
  CHECK(error_of([&] { (void)single.trainer.backward(single.loss()); }) ==
        "mixprec: backward: called twice in one step, but the model's gradients cannot add up. Call step or zero_grad "
        "first, or build the model with .accumulate_gradients = true.");
  CHECK(single.trainer.step(unscale(std::move(first))).taken);
}

TEST_CASE("zero_grad may stand between a forward pass and its backward, as in PyTorch") {
  Loop<Amp<float16>> loop, plain;
  for (unsigned index = 0; index < 3; ++index) {
    auto const loss = loop.loss(index);
    loop.trainer.zero_grad();
    CHECK(loop.trainer.step(unscale(loop.trainer.backward(loss))).taken);
    CHECK(plain.trainer.step(unscale(plain.trainer.backward(plain.loss(index)))).taken);
    CHECK(eager_state(loop.net) == eager_state(plain.net));
  }
}

TEST_CASE("a backward that is refused or fails leaves a trainer that goes on") {
  Loop<Fp32> loop;
  auto const old = loop.loss();
  (void)loop.trainer.backward(old);
  loop.trainer.zero_grad();
  CHECK(error_of([&] { (void)loop.trainer.backward(old); }).starts_with("mixprec: backward: the loss is older"));
  // A pass that fails on the way, with gradients written before: both terms end in the same parameters.
  auto const twice = loop.loss() + loop.loss();
  CHECK(error_of([&] { (void)loop.trainer.backward(twice); }).find("cannot add up") != std::string::npos);
  auto scaled = loop.trainer.backward(loop.loss());
  CHECK(largest(scaled.values("fc.weight")) > 0);
  auto const result = loop.trainer.step(unscale(std::move(scaled)));
  CHECK(result.taken);
  CHECK(result.step == 1);
}

TEST_CASE("a token that was taken says which call took it, and which call asks again") {
  Loop<Amp<float16>> loop;
  Gradients<Scaled> none;
  CHECK(error_of([&] { (void)unscale(std::move(none)); }) ==
        "mixprec: unscale: these gradients are empty. Assign what backward returns.");

  auto scaled = loop.trainer.backward(loop.loss());
  auto gradients = unscale(std::move(scaled));
  CHECK(
      error_of([&] { (void)unscale(std::move(scaled)); }) ==
      "mixprec: unscale: these gradients were given to unscale before. Use the Gradients<Unscaled> that it returned.");
  CHECK(error_of([&] { (void)scaled.values("fc.weight"); }) ==
        "mixprec: values: these gradients were given to unscale before. Use the Gradients<Unscaled> that it returned.");
  CHECK(
      error_of([&] { (void)loop.trainer.backward(loop.loss()); }) ==
      "mixprec: backward: this step's gradients were given to unscale before, and cannot grow any more. Call step, or "
      "zero_grad to drop them.");
  CHECK(error_of([&] { clip_grad_norm(gradients, -1.0); }).starts_with("mixprec: clip_grad_norm: max_norm is -1.0"));

  auto moved = std::move(gradients);
  CHECK(error_of([&] { clip_grad_norm(gradients, 1.0); }) ==
        "mixprec: clip_grad_norm: these gradients were moved to another variable before. Use that one.");
  CHECK(loop.trainer.step(std::move(moved)).taken);
  CHECK(error_of([&] { (void)loop.trainer.step(std::move(moved)); }) ==
        "mixprec: step: these gradients were given to step before. Call backward for new ones.");
  CHECK(error_of([&] { clip_grad_norm(moved, 1.0); }) ==
        "mixprec: clip_grad_norm: these gradients were given to step before. Call backward for new ones.");

  auto old = loop.trainer.backward(loop.loss());
  auto const before = eager_state(loop.net);
  loop.trainer.zero_grad();
  CHECK(error_of([&] { (void)unscale(std::move(old)); }) ==
        "mixprec: unscale: these gradients are older than the last call of backward, step or zero_grad. Use what the "
        "last "
        "backward returned.");
  CHECK(loop.trainer.step(unscale(loop.trainer.backward(loop.loss()))).taken);
  CHECK(eager_state(loop.net) != before);
}

TEST_CASE("gradients and losses of another model are refused") {
  Loop<Fp32> one, other;
  auto const loss = other.loss();
  CHECK(error_of([&] { (void)one.trainer.backward(loss); }) ==
        "mixprec: backward: the loss belongs to another model than the trainer. Use that model's trainer.");
  auto gradients = unscale(other.trainer.backward(loss));
  CHECK(error_of([&] { (void)one.trainer.step(std::move(gradients)); }) ==
        "mixprec: step: the gradients belong to another trainer. Give them to the one whose backward made them.");
  CHECK(other.trainer.step(std::move(gradients)).taken);
  CHECK(error_of([&] { (void)other.trainer.backward(loss); }) ==
        "mixprec: backward: the loss is older than the last backward or begin_step, which emptied the tape. Run the "
        "forward "
        "pass again.");
}

}  // namespace
}  // namespace mixprec::test
