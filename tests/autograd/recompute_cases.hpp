// SPDX-License-Identifier: Apache-2.0
// Recompute: the numbers of the block without it, less memory, and a plan that says so.
#include "recompute_nets.hpp"
#include "train/plan_cases.hpp"

namespace mixprec::test {
namespace {

struct StepOutcome {
  std::vector<double> losses;
  NamedValues state, gradients;
  std::int64_t kept = 0;
  std::size_t peak = 0;
};

template <class Net, class Policy>
StepOutcome three_steps(bool graph = false) {
  Model<Net, Policy, TestBackend> model{3};
  Sgd opt{model, {.momentum = 0.9}};
  Scaler<StaticScale<128>> const scaler;
  Step step{model, opt, scaler, Constant{.lr = 0.05}, Loss{}, {.graph = graph}};
  StepOutcome outcome;
  for (unsigned index = 0; index < 3; ++index) {
    Batch<input_of_t<Policy>, 4> const batch(recompute_input, 4, index);
    if (index == 2) {
      if (!graph) model.session().start_recording();
      step.arena().reset_high_water();
    }
    step(batch.host_image(), batch.host_label());
    outcome.losses.push_back(step.loss());
  }
  for (PlanRow const& row : model.session().stop_recording()) outcome.kept += row.kept_bytes;
  outcome.peak = step.arena().high_water();
  for (std::string const& name : model.names()) outcome.state.emplace_back(name, model.values(name));
  for (ParameterEntry const& entry : model.session().parameters().entries())
    outcome.gradients.emplace_back(entry.name, model.gradient(entry.name));
  return outcome;
}

TEST_CASE("recompute changes no loss, gradient, parameter or running statistic, bit for bit") {
  for_some_policies([&]<class Policy>() {
    StepOutcome const plain = three_steps<BlockNet<Same>, Policy>();
    StepOutcome const recomputed = three_steps<BlockNet<nn::Recompute>, Policy>();
    CHECK(recomputed.losses == plain.losses);
    CHECK(recomputed.gradients == plain.gradients);
    CHECK(recomputed.state == plain.state);
    CHECK(largest(plain.gradients[0].second) > 0);
  });
}

TEST_CASE("recompute keeps the blocks' inputs only, and the peak of a step falls") {
  StepOutcome const plain = three_steps<BlockNet<Same>, Amp<bfloat16>>();
  StepOutcome const recomputed = three_steps<BlockNet<nn::Recompute>, Amp<bfloat16>>();
  CHECK(recomputed.kept < plain.kept / 3);
  CHECK(recomputed.peak < plain.peak * 3 / 4);
}

TEST_CASE("the rows of a recomputed block are there once, and its last row keeps the input") {
  constexpr auto const& plan_of = plan<TwoBlocks, Fp32, recompute_input>;
  constexpr std::int64_t image = 6 * 2 * 8 * 8 * 4;
  int convolutions = 0, keeping = 0;
  for (int at = 0; at < plan_of.rows(); ++at) {
    convolutions += std::string(plan_of.row[at].op) == "conv2d" ? 1 : 0;
    if (std::string(plan_of.row[at].op) == "dropout" && plan_of.row[at].kept_bytes == image) ++keeping;
  }
  CHECK(convolutions == 4);
  CHECK(keeping == 2);
  // The pooled features and what the loss keeps, and nothing else.
  CHECK(plan_of.kept_bytes() < 2 * image + 1024);
}

TEST_CASE("recompute gives parameters no second use: gradients stay low, and eval and no_grad run as without it") {
  Model<BlockNet<nn::Recompute>, Amp<float16>, TestBackend> model{3};
  Batch<float, 4> const batch(recompute_input, 4);
  auto const image = model.template tensor<float>(recompute_input);
  copy_from_host(model.stream(), image, batch.image.data(), batch.image.size());
  model.session().begin_step();
  Model<BlockNet<Same>, Amp<float16>, TestBackend> plain{3};
  auto const same = plain.template tensor<float>(recompute_input);
  copy_from_host(plain.stream(), same, batch.image.data(), batch.image.size());
  plain.session().begin_step();
  model.set_training(false), plain.set_training(false);
  CHECK(values_of(model.session(), model(image).tensor()) == values_of(plain.session(), plain(same).tensor()));
  {
    NoGrad const guard{model};
    CHECK_FALSE(model(image).requires_grad());
  }
  for (auto const& segment : model.session().parameters().segments())
    if (segment.working_dtype == DType::float16) CHECK(segment.gradient_dtype == DType::float16);
}

/// A frozen block behind a frozen stem: nothing needs a gradient, and nothing is kept.
using FrozenNet = nn::Sequential<nn::Frozen<nn::Recompute<NoisyBlock<2>>>, nn::GlobalAvgPool2d, nn::Linear<2, 4>>;
/// A block without parameters in front of which something trains.
using PlainNet =
    nn::Sequential<nn::Conv2d<2, 4, 3>, nn::Recompute<nn::Sequential<nn::ReLU, nn::MaxPool2d<2>, nn::Dropout<0.3>>>,
                   nn::GlobalAvgPool2d, nn::Linear<4, 4>>;
/// A block that changes nothing in eval, so that its result is its input.
using IdentityNet = nn::Sequential<nn::Conv2d<2, 4, 3>, nn::Recompute<nn::Sequential<nn::Identity>>,
                                   nn::GlobalAvgPool2d, nn::Linear<4, 4>>;

TEST_CASE("blocks that are frozen, have no parameters or change nothing train as without recompute") {
  using FrozenPlain = nn::Sequential<nn::Frozen<NoisyBlock<2>>, nn::GlobalAvgPool2d, nn::Linear<2, 4>>;
  using PlainPlain = nn::Sequential<nn::Conv2d<2, 4, 3>, nn::Sequential<nn::ReLU, nn::MaxPool2d<2>, nn::Dropout<0.3>>,
                                    nn::GlobalAvgPool2d, nn::Linear<4, 4>>;
  using IdentityPlain =
      nn::Sequential<nn::Conv2d<2, 4, 3>, nn::Sequential<nn::Identity>, nn::GlobalAvgPool2d, nn::Linear<4, 4>>;
  auto const compare = [](StepOutcome const& got, StepOutcome const& wanted) {
    CHECK(got.losses == wanted.losses);
    CHECK(got.gradients == wanted.gradients);
    CHECK(got.state == wanted.state);
  };
  compare(three_steps<FrozenNet, Amp<float16>>(), three_steps<FrozenPlain, Amp<float16>>());
  compare(three_steps<PlainNet, Amp<float16>>(), three_steps<PlainPlain, Amp<float16>>());
  compare(three_steps<IdentityNet, Amp<float16>>(), three_steps<IdentityPlain, Amp<float16>>());
  CHECK(plan<FrozenNet, Fp32, recompute_input>.kept_bytes() < 1024);
}

TEST_CASE("a step with recomputed blocks gives the same results as a graph and eagerly") {
  StepOutcome const eager = three_steps<BlockNet<nn::Recompute>, Amp<float16>>();
  StepOutcome const graph = three_steps<BlockNet<nn::Recompute>, Amp<float16>>(true);
  CHECK(graph.losses == eager.losses);
  CHECK(graph.state == eager.state);
}

}  // namespace
}  // namespace mixprec::test
