// SPDX-License-Identifier: Apache-2.0
// RecomputeNorms and RecomputeExpansions: the same bits as without, less memory, and the plan knows both.
#include <mixprec/nn/branches.hpp>

#include "plan_cases.hpp"

namespace mixprec::test {
namespace {

inline constexpr Shape norms_input{4, 3, 12, 10};

template <int In, int Out>
using Block = nn::Sequential<nn::Conv2d<In, Out, 3, nn::Conv2dOptions{.padding = 1, .bias = false}>,
                             nn::BatchNorm2d<Out>, nn::ReLU>;

/// Chains whose results are recomputed, one with a second reader and a residual, a norm behind a norm and one behind
/// both, 1x1 convolutions that widen (of a kept operand, with a norm behind it; of a recomputed one, with a residual),
/// and branches that write their channels into a wider result.
struct NormsNet {
  Block<3, 16> first;
  Block<16, 16> second;
  nn::BatchNorm2d<16> twice, thrice;
  nn::Conv2d<16, 16, 1> side;
  nn::BatchNorm2d<16> norm;
  nn::Conv2d<16, 32, 1> shortcut;
  nn::BatchNorm2d<32> shortcut_norm;
  Block<16, 16> third;
  nn::Conv2d<16, 32, 1, nn::Conv2dOptions{.bias = false}> widen;
  nn::BatchNorm2d<32> wide_norm;
  nn::Concat<Block<32, 8>, Block<32, 24>> branches;
  nn::Conv2d<32, 8, 1> last;
  nn::GlobalAvgPool2d pool;
  nn::Linear<8, 5> fc;
  MIXPREC_MODULE(first, second, twice, thrice, side, norm, shortcut, shortcut_norm, third, widen, wide_norm, branches,
                 last, pool, fc)

  constexpr auto operator()(auto const& x) const {
    auto const y = first(x);
    auto const z = relu(thrice(relu(twice(second(y)))));
    auto const joined = relu(norm(side(z)) + y);
    auto const skip = shortcut_norm(shortcut(joined));
    auto const wide = relu(wide_norm(widen(third(joined))) + skip);
    return fc(pool(last(branches(wide))));
  }
};

template <class Policy>
std::vector<std::pair<std::string, Values>> trained() {
  Model<NormsNet, Policy, TestBackend> model{1};
  Sgd opt{model, {.momentum = 0.9}};
  Scaler<StaticScale<128>> const scaler;
  Step step{model, opt, scaler, Constant{.lr = 0.05}, Loss{}};
  Batch<float, 4> const batch(norms_input, 5);
  for (int index = 0; index < 3; ++index) step(batch.host_image(), batch.host_label());
  std::vector<std::pair<std::string, Values>> values;
  for (std::string const& name : model.names()) values.emplace_back(name, model.values(name));
  return values;
}

template <class Policy, class Keeping>
void check_policy() {
  CHECK(trained<Policy>() == trained<Keeping>());
  check_rows<NormsNet, Policy, TestBackend, norms_input>(5);
  check_peak<NormsNet, Policy, TestBackend, norms_input>(5);
  static_assert(plan<NormsNet, Policy, norms_input>.kept_bytes() < plan<NormsNet, Keeping, norms_input>.kept_bytes());
}

TEST_CASE("recomputed norms change no bit of training, and the plan has their rows and their peak") {
  check_policy<RecomputeNorms<Fp32>, Fp32>();
  check_policy<RecomputeNorms<Amp<bfloat16>>, Amp<bfloat16>>();
}

TEST_CASE("recomputed expansions change no bit of training, and the plan has their rows and their peak") {
  check_policy<RecomputeExpansions<Fp32>, RecomputeNorms<Fp32>>();
  check_policy<RecomputeExpansions<PyTorchAmp<float16>>, RecomputeNorms<PyTorchAmp<float16>>>();
}

/// Gradients of a second model that reads what a first one made, whose norm changes before the second one's backward.
template <class Policy>
Values gradient_behind_another_model() {
  Model<Block<3, 8>, Policy, TestBackend> first{1};
  Model<nn::Sequential<nn::Conv2d<8, 5, 1>, nn::GlobalAvgPool2d>, Policy, TestBackend> second{2};
  Batch<float, 4> const batch(norms_input, 5);
  auto const image = first.template tensor<float>(norms_input);
  auto const label = second.template tensor<std::int32_t>(Shape{norms_input[0]});
  copy_from_host(first.stream(), image, batch.image.data(), batch.image.size());
  copy_from_host(second.stream(), label, batch.label.data(), batch.label.size());
  first.session().begin_step();
  auto const features = first(image);
  TestBackend::wait(first.stream());
  second.session().begin_step();
  auto const loss = cross_entropy(second(features.tensor()), label);
  first.assign("1.weight", Values(8, 3.0));
  first.assign("1.bias", Values(8, -2.0));
  second.session().backward(loss);
  return second.gradient("0.weight");
}

TEST_CASE("what another model made is kept as it was under recomputed norms") {
  CHECK(gradient_behind_another_model<RecomputeNorms<Fp32>>() == gradient_behind_another_model<Fp32>());
}

TEST_CASE("a float region inside recomputed norms comes back to them") {
  using Policy = RecomputeNorms<Amp<float16>>;
  static_assert(force_fp32_t<Policy>::recomputes == Recompute::norms);
  static_assert(std::is_same_v<auto_fp16_t<force_fp32_t<Policy>>, Policy>);
  static_assert(std::is_same_v<auto_fp16_t<force_fp32_t<RecomputeExpansions<Policy>>>, RecomputeExpansions<Policy>>);
  static_assert(RecomputeNorms<RecomputeExpansions<Fp32>>::recomputes == Recompute::expansions);
  CHECK(std::string(Policy::name) == Amp<float16>::name);
}

}  // namespace
}  // namespace mixprec::test
