// SPDX-License-Identifier: Apache-2.0
// RecomputeNorms: the same bits as without, less memory, and the plan knows both.
#include <mixprec/nn/branches.hpp>

#include "plan_cases.hpp"

namespace mixprec::test {
namespace {

inline constexpr Shape norms_input{4, 3, 12, 10};

template <int In, int Out>
using Block = nn::Sequential<nn::Conv2d<In, Out, 3, nn::Conv2dOptions{.padding = 1, .bias = false}>,
                             nn::BatchNorm2d<Out>, nn::ReLU>;

/// Chains whose results are recomputed, one with a second reader and a residual, and branches that write their channels
/// into a wider result.
struct NormsNet {
  Block<3, 16> first;
  Block<16, 16> second;
  nn::Conv2d<16, 16, 1> side;
  nn::BatchNorm2d<16> norm;
  nn::Concat<Block<16, 8>, Block<16, 24>> branches;
  nn::Conv2d<32, 8, 1> last;
  nn::GlobalAvgPool2d pool;
  nn::Linear<8, 5> fc;
  MIXPREC_MODULE(first, second, side, norm, branches, last, pool, fc)

  constexpr auto operator()(auto const& x) const {
    auto const y = first(x);
    auto const z = second(y);
    auto const joined = relu(norm(side(z)) + y);
    return fc(pool(last(branches(joined))));
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

template <class Policy>
void check_policy() {
  CHECK(trained<RecomputeNorms<Policy>>() == trained<Policy>());
  check_rows<NormsNet, RecomputeNorms<Policy>, TestBackend, norms_input>(5);
  check_peak<NormsNet, RecomputeNorms<Policy>, TestBackend, norms_input>(5);
  static_assert(plan<NormsNet, RecomputeNorms<Policy>, norms_input>.kept_bytes() <
                plan<NormsNet, Policy, norms_input>.kept_bytes());
}

TEST_CASE("recomputed norms change no bit of training, and the plan has their rows and their peak") {
  check_policy<Fp32>();
  check_policy<Amp<bfloat16>>();
  check_policy<PyTorchAmp<float16>>();
}

TEST_CASE("a float region inside recomputed norms comes back to them") {
  using Policy = RecomputeNorms<Amp<float16>>;
  static_assert(force_fp32_t<Policy>::recomputes_norms);
  static_assert(std::is_same_v<auto_fp16_t<force_fp32_t<Policy>>, Policy>);
  CHECK(std::string(Policy::name) == Amp<float16>::name);
}

}  // namespace
}  // namespace mixprec::test
