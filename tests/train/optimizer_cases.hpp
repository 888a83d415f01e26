// SPDX-License-Identifier: Apache-2.0
// Optimizers bound to a model: parameters without a gradient, groups without a parameter, an EMA asked for late.
#include "optimizer_arrays.hpp"

namespace mixprec::test {
namespace {

/// Two heads, of which the loss depends on one where the model is not in training.
struct TwoHeads {
  nn::Linear<6, 8> trunk;
  nn::Linear<8, 3> left, right;
  MIXPREC_MODULE(trunk, left, right)
  constexpr auto operator()(auto const& x) const {
    auto const features = relu(trunk(x));
    auto const y = left(features);
    return x.session().training() ? y + right(features) : y + y;
  }
};
/// The same function of the left head alone.
struct OneHead {
  nn::Linear<6, 8> trunk;
  nn::Linear<8, 3> left;
  MIXPREC_MODULE(trunk, left)
  constexpr auto operator()(auto const& x) const {
    auto const y = left(relu(trunk(x)));
    return y + y;
  }
};

struct HeadLoss {
  auto operator()(auto& net, auto const& x, auto const& label) const { return cross_entropy(net(x), label); }
};

template <class M>
NamedValues parameters_of(M& model, std::string const& prefix) {
  NamedValues all;
  for (std::string const& name : model.names())
    if (name.starts_with(prefix)) all.emplace_back(name, model.values(name));
  return all;
}

constexpr int head_rows = 12;
std::vector<float> head_inputs() {
  std::mt19937 generator(8);
  std::vector<float> values;
  for (double const value : draw(generator, head_rows * 6, Draw::smooth)) values.push_back(static_cast<float>(value));
  return values;
}
template <class StepType>
void take_head_step(StepType& step) {
  std::vector<float> const x = head_inputs();
  std::vector<std::int32_t> const labels{0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 2};
  step(HostTensor{x.data(), Shape{head_rows, 6}}, HostTensor{labels.data(), Shape{head_rows}});
}

template <class Options>
void check_unreached(Options const& options) {
  for_each_policy([&]<class Policy>() {
    using M = Model<TwoHeads, Policy, TestBackend>;
    M model{3};
    Optimizer<M, Options> opt{model, options};
    // A static scale that half holds; float and bfloat16 need none.
    Scaler<Static> const scaler({.scale = Policy::low == DType::float16 ? 64.0 : 1.0});
    Step step{model, opt, scaler, Constant{.lr = 0.1}, HeadLoss{}, {.ema = Ema{.decay = 0.5}}};
    for (int index = 0; index < 3; ++index) take_head_step(step);
    auto const right = parameters_of(model, "right"), left = parameters_of(model, "left");
    auto const averages = emas_of(model, opt);
    model.set_training(false);
    for (int index = 0; index < 4; ++index) take_head_step(step);
    CHECK(step.result().taken);
    CHECK(step.captures() == (TestBackend::captures ? 2 : 0));
    CHECK(parameters_of(model, "right") == right);
    CHECK(parameters_of(model, "left") != left);
    // The average of a parameter that stands still goes on towards it.
    CHECK(emas_of(model, opt) != averages);
    model.set_training(true);
    take_head_step(step);
    CHECK(parameters_of(model, "right") != right);
  });
}

TEST_CASE("a parameter that the loss does not depend on neither decays nor moves by its momentum") {
  check_unreached(SgdOptions{.momentum = 0.9, .weight_decay = 0.1});
  check_unreached(SgdOptions{.momentum = 0.9, .weight_decay = 0.1, .max_norm = 0.1});
  check_unreached(AdamWOptions{.weight_decay = 0.1});
}

TEST_CASE("what is left of an older gradient counts neither in the norm nor as inf") {
  Model<TwoHeads, Fp32, TestBackend> model{3};
  Model<OneHead, Fp32, TestBackend> alone{3};
  Sgd opt{model, {.max_norm = 1e-3}};
  Sgd alone_opt{alone, {.max_norm = 1e-3}};
  Scaler<Static> const scaler({.scale = 1});
  Step step{model, opt, scaler, Constant{.lr = 0.1}, HeadLoss{}};
  Step alone_step{alone, alone_opt, scaler, Constant{.lr = 0.1}, HeadLoss{}};
  take_head_step(step);
  // The right head's gradient becomes inf, and stays in memory.
  model.assign("trunk.bias", Values(8, std::numeric_limits<double>::infinity()));
  take_head_step(step);
  CHECK_FALSE(step.result().taken);
  for (std::string const& name : alone.names()) alone.assign(name, model.values(name));
  alone.assign("trunk.bias", Values(8, 0.5));
  model.assign("trunk.bias", Values(8, 0.5));
  model.set_training(false);
  take_head_step(step), take_head_step(alone_step);
  CHECK(step.result().taken);
  CHECK(step.result().grad_norm == doctest::Approx(alone_step.result().grad_norm).epsilon(1e-6));
}

TEST_CASE("an optimizer that has run without EMA keeps one as soon as it is asked for") {
  Model<OneHead, Fp32, TestBackend> model{3};
  Sgd opt{model, {.momentum = 0.9}};
  Scaler<NoScaler> const scaler;
  Step plain{model, opt, scaler, Constant{.lr = 0.1}, HeadLoss{}};
  take_head_step(plain);
  CHECK(emas_of(model, opt).at(0).empty());
  auto const masters = [&] { return arrays_of(model, opt, [](auto const& segment) { return segment.master; }); };
  auto const before = masters();
  Step averaging{model, opt, scaler, Constant{.lr = 0.1}, HeadLoss{}, {.ema = Ema{.decay = 0.5}}};
  take_head_step(averaging);
  auto const average = emas_of(model, opt), after = masters();
  REQUIRE(average.at(0).size() == after.at(0).size());
  CHECK(largest(after[0]) > 0);
  for (std::size_t index = 0; index < after[0].size(); ++index)
    CHECK(average[0][index] == doctest::Approx((before[0][index] + after[0][index]) / 2).epsilon(1e-5));
}

TEST_CASE("groups of a model multiply learning rate and decay of their parameters, and of no others") {
  for_each_policy([&]<class Policy>() {
    using M = Model<OneHead, Policy, TestBackend>;
    M model{3}, whole{3};
    // Without momentum a step is lr * (gradient + decay * value), and both models have the same gradient at first.
    Sgd opt{model,
            {.weight_decay = 0.1},
            {{.pattern = "trunk.*", .lr_multiplier = 0}, {.pattern = "kind:bias", .decay_multiplier = 0}}};
    Sgd whole_opt{whole, {.weight_decay = 0.1}};
    for (M* of : {&model, &whole}) of->assign("left.bias", Values(3, 4.0));
    // A static scale that half holds; float and bfloat16 need none.
    Scaler<Static> const scaler({.scale = Policy::low == DType::float16 ? 64.0 : 1.0});
    Step step{model, opt, scaler, Constant{.lr = 0.125}, HeadLoss{}};
    Step whole_step{whole, whole_opt, scaler, Constant{.lr = 0.125}, HeadLoss{}};
    take_head_step(step), take_head_step(whole_step);
    CHECK(step.result().taken);
    CHECK(parameters_of(model, "left.weight") == parameters_of(whole, "left.weight"));
    Values const moved = model.values("left.bias"), decayed = whole.values("left.bias");
    double const rounding = 4.0 * traits_of(Policy::parameter(ParameterKind::bias)).eps;
    for (std::size_t index = 0; index < moved.size(); ++index)
      CHECK(std::abs(moved[index] - decayed[index] - 0.125 * 0.1 * 4.0) < 2 * rounding);
    // The first call rounded the initial values to the masters' dtype.
    auto const trunk = parameters_of(model, "trunk"), whole_trunk = parameters_of(whole, "trunk");
    take_head_step(step), take_head_step(whole_step);
    CHECK(parameters_of(model, "trunk") == trunk);
    CHECK(parameters_of(whole, "trunk") != whole_trunk);
  });
}

TEST_CASE("a group that holds no parameter is refused with its pattern") {
  Model<OneHead, Fp32, TestBackend> model{3};
  auto const make = [&](std::string const& pattern) { Sgd opt{model, {}, {{.pattern = pattern}}}; };
  CHECK_NOTHROW(make("left.*"));
  CHECK_NOTHROW(make("kind:bias"));
  CHECK_THROWS_WITH_AS(make("backbone.*"),
                       "mixprec: parameter group \"backbone.*\" holds no parameter of the model. Remove it, or change "
                       "the pattern; names() of the model lists all names.",
                       Error);
  auto const behind = [&] { Sgd opt{model, {}, {{.pattern = "left.*"}, {.pattern = "kind:bias left.*"}}}; };
  CHECK_THROWS_WITH_AS(
      behind(),
      "mixprec: parameter group \"kind:bias left.*\": groups before it hold all of its parameters, and "
      "the first one counts. Put the narrower group first.",
      Error);
}

}  // namespace
}  // namespace mixprec::test
