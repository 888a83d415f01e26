// SPDX-License-Identifier: Apache-2.0
// RecomputeNorms: the same bits as without, less memory, and the plan knows both.
#include <mixprec/nn/branches.hpp>

#include "recompute_training.hpp"

namespace mixprec::test {
namespace {

inline constexpr Shape norms_input{4, 3, 12, 10};

/// Chains whose results are recomputed, one with a second reader and a residual, four norms in a row, and branches that
/// write their channels into a wider result.
struct NormsNet {
  Block<3, 16> first;
  Block<16, 16> second;
  nn::BatchNorm2d<16> twice, thrice, again;
  nn::Conv2d<16, 16, 1> side;
  nn::BatchNorm2d<16> norm;
  nn::Concat<Block<16, 8>, Block<16, 24>> branches;
  nn::Conv2d<32, 8, 1> last;
  nn::GlobalAvgPool2d pool;
  nn::Linear<8, 5> fc;
  MIXPREC_MODULE(first, second, twice, thrice, again, side, norm, branches, last, pool, fc)

  constexpr auto operator()(auto const& x) const {
    auto const y = first(x);
    auto const z = again(relu(thrice(relu(twice(second(y))))));
    auto const joined = relu(norm(side(z)) + y);
    return fc(pool(last(branches(joined))));
  }
};

TEST_CASE("recomputed norms change no bit of training, and the plan has their rows and their peak") {
  check_recomputes<NormsNet, RecomputeNorms<Fp32>, Fp32, norms_input>();
  check_recomputes<NormsNet, RecomputeNorms<Amp<bfloat16>>, Amp<bfloat16>, norms_input>();
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
  static_assert(force_fp32_t<Policy>::recomputes == RecomputeLevel::norms);
  static_assert(std::is_same_v<auto_fp16_t<force_fp32_t<Policy>>, Policy>);
  static_assert(std::is_same_v<auto_fp16_t<force_fp32_t<RecomputeExpansions<Policy>>>, RecomputeExpansions<Policy>>);
  static_assert(RecomputeNorms<RecomputeExpansions<Fp32>>::recomputes == RecomputeLevel::expansions);
  CHECK(std::string(Policy::name) == Amp<float16>::name);
}

}  // namespace
}  // namespace mixprec::test
