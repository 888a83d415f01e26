// SPDX-License-Identifier: Apache-2.0
// Cases for ops/batch_norm.hpp, alone and in the calls that fuse.
#include "harness.hpp"

namespace mixprec::test {
namespace {

struct FrozenStatistics : nn::BatchNorm2d<3> {
  constexpr FrozenStatistics() { state.frozen = true; }
};

template <class Norm>
struct NormCase {
  Parameter<4> input{Shape{4, 3, 5, 4}};
  Norm bn;
  MIXPREC_MODULE(input, bn)
  constexpr auto operator()(auto const& x) const { return bn(leaf<Fp16Op>(x, input)); }
};

struct BatchNormRowsCase {
  Parameter<2> input{Shape{16, 3}};
  nn::BatchNorm1d<3> bn;
  MIXPREC_MODULE(input, bn)
  constexpr auto operator()(auto const& x) const { return bn(leaf<FollowOp>(x, input)); }
};

struct NormReluCase {
  Parameter<4> input{Shape{4, 3, 5, 4}};
  nn::BatchNorm2d<3> bn;
  MIXPREC_MODULE(input, bn)
  constexpr auto operator()(auto const& x) const { return relu(bn(leaf<Fp16Op>(x, input))); }
};

struct NormAddReluCase {
  Parameter<4> input{Shape{4, 3, 5, 4}}, residual{Shape{4, 3, 5, 4}};
  nn::BatchNorm2d<3> bn;
  MIXPREC_MODULE(input, residual, bn)
  constexpr auto operator()(auto const& x) const {
    return relu(bn(leaf<Fp16Op>(x, input)) + leaf<Fp16Op>(x, residual));
  }
};

TEST_CASE("batch norm in training agrees with the oracle, its running statistics too") {
  check_op<NormCase<nn::BatchNorm2d<3>>, TestBackend>({.seed = 1, .terms = 80, .gain = 3});
  check_op<BatchNormRowsCase, TestBackend>({.seed = 2, .terms = 16, .gain = 3});
}

TEST_CASE("batch norm in evaluation uses the running statistics and leaves them as they are") {
  using Net = NormCase<nn::BatchNorm2d<3>>;
  Case const settings{.seed = 3, .terms = 80, .gain = 2, .training = false};
  check_op<Net, TestBackend>(settings);
  NamedValues const state = draw_state<Net>(settings, Draw::coarse);
  Outcome const outcome = run<Net, Amp<float16>, TestBackend>(settings, state);
  CHECK_EQ(difference(outcome.buffers, NamedValues(state.end() - 2, state.end()), 1e-7), "");
}

TEST_CASE("batch norm with frozen statistics is the same in training as in evaluation") {
  using Net = NormCase<FrozenStatistics>;
  Case const settings{.seed = 4, .terms = 80, .gain = 2};
  check_op<Net, TestBackend>(settings);
  NamedValues const state = draw_state<Net>(settings, Draw::coarse);
  Outcome const training = run<Net, Amp<float16>, TestBackend>(settings, state);
  Outcome const evaluation =
      run<NormCase<nn::BatchNorm2d<3>>, Amp<float16>, TestBackend>({.seed = 4, .training = false}, state);
  CHECK(training.output == evaluation.output);
  CHECK(training.gradients == evaluation.gradients);
  CHECK(training.buffers == evaluation.buffers);
}

TEST_CASE("an empty batch is refused in training, in the first call and later, and has an empty result in evaluation") {
  auto const check = []<class Net, int Rank>(Net, Shape<Rank> one, std::string const& where) {
    Model<Net, Amp<float16>, TestBackend> model{1};
    auto const call = [&](std::int64_t count) {
      Shape<Rank> extents = one;
      extents[0] = count;
      poison(model.session());
      model.session().begin_step();
      auto const x = tensor_of<float>(model.session(), extents, Values(static_cast<std::size_t>(extents.size()), 0.5));
      try {
        return to_string(model(x).shape());
      } catch (Error const& error) {
        return std::string(error.what());
      }
    };
    std::string const refusal = "mixprec: " + where +
                                ": samples in the batch (at least 1) do not fit: expected 1, received 0. Pass over "
                                "empty batches: call neither the model nor the loss on them.";
    CHECK_EQ(call(0), refusal);
    CHECK_FALSE(model.session().parameters().laid_out());
    CHECK_EQ(call(4).substr(0, 2), "(4");
    CHECK_EQ(call(0), refusal);
    CHECK_EQ(call(1).find("samples in the batch"), std::string::npos);
    model.set_training(false);
    CHECK_EQ(call(0).substr(0, 2), "(0");
  };
  check(nn::Sequential<nn::Linear<3, 4>, nn::BatchNorm1d<4>>{}, Shape{1, 3}, "1: batch_norm");
  check(nn::Sequential<nn::Conv2d<3, 4, 3>, nn::BatchNorm2d<4>, nn::ReLU>{}, Shape{1, 3, 5, 4}, "1: batch_norm+relu");
}

TEST_CASE("batch norm with relu, and with a residual and relu, agrees with the oracle") {
  check_op<NormReluCase, TestBackend>({.seed = 5, .terms = 80, .gain = 3});
  check_op<NormAddReluCase, TestBackend>({.seed = 6, .terms = 80, .gain = 3});
}

}  // namespace
}  // namespace mixprec::test
