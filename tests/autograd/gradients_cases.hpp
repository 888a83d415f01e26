// SPDX-License-Identifier: Apache-2.0
// Where gradients meet and where they stop: fan-out, shared modules, frozen parts, detach.
#include "ops/harness.hpp"

namespace mixprec::test {
namespace {

struct FanOutCase {
  Parameter<2> input{Shape{4, 6}};
  MIXPREC_MODULE(input)
  constexpr auto operator()(auto const& x) const {
    auto const a = leaf<Fp16Op>(x, input);
    return relu(a) * a + (a + a);
  }
};

/// The same module twice: its gradients are the sum of two uses.
struct SharedCase {
  Parameter<2> input{Shape{4, 6}};
  nn::Linear<6, 6> fc;
  MIXPREC_MODULE(input, fc)
  constexpr auto operator()(auto const& x) const { return fc(fc(leaf<Fp16Op>(x, input))); }
};

struct DetachCase {
  Parameter<2> input{Shape{4, 6}};
  MIXPREC_MODULE(input)
  constexpr auto operator()(auto const& x) const {
    auto const a = leaf<Fp16Op>(x, input);
    return a * a.detach();
  }
};

/// A frozen stem in front of a trained head, and a frozen layer between two trained ones.
using Stem = nn::Sequential<nn::Conv2d<2, 4, 3>, nn::BatchNorm2d<4>, nn::ReLU>;
using StemNet = nn::Sequential<nn::Frozen<Stem>, nn::GlobalAvgPool2d, nn::Linear<4, 3>>;
using MiddleNet = nn::Sequential<nn::Linear<5, 6>, nn::Frozen<nn::Linear<6, 6>>, nn::Linear<6, 3>>;

template <class Net, class Policy, int Rank>
auto trained(Model<Net, Policy, TestBackend>& model, Shape<Rank> shape) {
  auto& session = model.session();
  std::mt19937 generator(5);
  auto const input = tensor_of<input_of_t<Policy>>(
      session, shape, draw(generator, static_cast<std::size_t>(shape.size()), Draw::coarse));
  session.begin_step();
  session.start_recording();
  {
    auto const y = model(input);
    session.backward(mean(y * y));
  }
  return session.stop_recording();
}

TEST_CASE("the gradients of a value with several readers are added") {
  check_op<FanOutCase, TestBackend>({.seed = 1, .gain = 2});
}

TEST_CASE("a module used twice gets the sum of both gradients, kept in float") {
  check_op<SharedCase, TestBackend>({.seed = 2, .terms = 12, .gain = 2});
  Model<SharedCase, Amp<float16>, TestBackend> model;
  auto& session = model.session();
  (void)model(tensor_of<float>(session, Shape{1}, {0}));
  auto& store = session.parameters();
  CHECK(store.segment_of(0).gradient_dtype == DType::float16);  // input: one use
  CHECK(store.entries()[1].name == "fc.weight");
  CHECK(store.segment_of(1).gradient_dtype == DType::float32);
  CHECK(store.segment_of(2).gradient_dtype == DType::float32);
}

TEST_CASE("a detached value passes no gradient") {
  Case const settings{.seed = 3};
  auto const state = draw_state<DetachCase>(settings, Draw::coarse);
  Outcome const outcome = run<DetachCase, Fp32, TestBackend>(settings, state);
  Values const g = upstream(24);
  Values expected;
  for (std::size_t index = 0; index < 24; ++index) expected.push_back(g[index] * state[0].second[index]);
  CHECK_EQ(difference("gradient", outcome.gradients[0].second, expected, 1e-6), "");
}

TEST_CASE("a frozen stem has no gradients, keeps nothing and runs on its running statistics") {
  Model<StemNet, Amp<float16>, TestBackend> model{1};
  auto const before = model.values("0.1.running_mean");
  auto const rows = trained(model, Shape{2, 2, 6, 6});
  for (char const* name : {"0.0.weight", "0.0.bias", "0.1.weight", "0.1.bias"}) CHECK(model.gradient(name).empty());
  CHECK(largest(model.gradient("2.weight")) > 0);
  CHECK(model.values("0.1.running_mean") == before);
  for (PlanRow const& row : rows) {
    std::string const path = model.session().path_of(row.place, row.op);
    if (path.rfind("0", 0) == 0) CHECK_MESSAGE(row.kept_bytes == 0, path << " keeps " << row.kept_bytes << " bytes");
  }
}

TEST_CASE("a frozen layer passes gradients on to what is before it, and keeps nothing for its own") {
  Model<MiddleNet, Amp<float16>, TestBackend> model{1};
  auto const rows = trained(model, Shape{4, 5});
  CHECK(model.gradient("1.weight").empty());
  CHECK(model.gradient("1.bias").empty());
  CHECK(largest(model.gradient("0.weight")) > 0);
  CHECK(largest(model.gradient("2.weight")) > 0);
  bool seen = false;
  for (PlanRow const& row : rows) {
    if (model.session().path_of(row.place, row.op) != "1") continue;
    seen = true;
    CHECK(row.kept_bytes == 0);
  }
  CHECK(seen);
}

}  // namespace
}  // namespace mixprec::test
