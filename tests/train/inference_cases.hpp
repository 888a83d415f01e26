// SPDX-License-Identifier: Apache-2.0
// Inference objects: what is folded and what is not, results against double, memory, independence from the model.
#include <mixprec/models/small_resnet.hpp>

#include "inference_folding.hpp"

namespace mixprec::test {
namespace {

// Residual adds with and without a convolution on the way past; the first block is frozen.
using Blocks = nn::Sequential<nn::Named<"first", nn::Frozen<models::BasicBlock<3, 6, 2>>>, models::BasicBlock<6, 6, 1>>;
struct BlocksCase {
  using Net = Blocks;
  static Names folded() { return {"first.downsample.1", "first.bn1", "first.bn2", "1.bn1", "1.bn2"}; }
};

// What forbids folding, beside what only looks like it: a named result with one reader, a region of float.
struct Mixture {
  using Conv = nn::Conv2d<3, 3, 3, NoBias{.padding = 1, .bias = false}>;
  nn::BatchNorm2d<3> first;  // nothing is before it
  Conv twice, shared, rectified, named;
  nn::BatchNorm2d<3> twice_norm, shared_norm, rectified_norm, named_norm;
  nn::ForceFp32<nn::Sequential<Conv, nn::BatchNorm2d<3>>> region;
  MIXPREC_MODULE(first, twice, shared, rectified, named, twice_norm, shared_norm, rectified_norm, named_norm, region)

  constexpr auto operator()(auto const& image) const {
    auto const x = first(image);
    auto const read_twice = twice(x);
    auto const a = relu(twice_norm(read_twice) + read_twice);
    auto const b = relu(shared_norm(shared(relu(shared_norm(shared(a))))));
    auto const c = relu(rectified_norm(relu(rectified(b))));
    auto const alone = named(c);
    return region(add(relu(named_norm(alone)), a));
  }
};
struct MixtureCase {
  using Net = Mixture;
  static Names folded() { return {"named_norm", "region.1"}; }
};

TEST_CASE("inference folds batch norms of residual blocks, frozen ones too, and the add and the relu still run") {
  check_folding_under_policies<BlocksCase>();
}

TEST_CASE("inference folds nothing that a second reader, a second call, or an op stands between") {
  check_folding_under_policies<MixtureCase>();
}

using Wide = nn::Sequential<nn::Linear<8, 256>, nn::BatchNorm1d<256>, nn::ReLU, nn::Linear<256, 256, false>,
                            nn::BatchNorm1d<256>, nn::ReLU, nn::BatchNorm1d<256>, nn::Linear<256, 3>>;

template <class Policy>
void train_one_step(Model<Wide, Policy, TestBackend>& model, double lr = 0.5) {
  std::mt19937 generator(3);
  Values const drawn = draw(generator, 16 * 8, Draw::smooth);
  std::vector<float> const values(drawn.begin(), drawn.end());
  std::vector<std::int32_t> labels(16);
  for (std::size_t row = 0; row < labels.size(); ++row) labels[row] = static_cast<std::int32_t>(row % 3);
  Sgd opt{model};
  Scaler<NoScaler> const scaler;
  Step step{model, opt, scaler, Constant{.lr = lr},
            [](auto& net, auto const& x, auto const& label) { return cross_entropy(net(x), label); }};
  step(HostTensor{values.data(), Shape{16, 8}}, HostTensor{labels.data(), Shape{16}});
  CHECK(step.result().taken);
}

TEST_CASE("an inference object holds one low-precision copy of the weights and the buffers that are still needed") {
  Model<Wide, Amp<float16>, TestBackend> model{1};
  train_one_step(model);
  auto inference = model.eval();
  Values const input(32 * 8, 0.5);
  (void)inferred<float>(inference, Shape{32, 8}, input);
  // Three matrices and biases in half; the batch norm behind the relu keeps two vectors in float and its statistics;
  // a zero and a one for each channel stand for those that are folded.
  std::size_t const half = (8 * 256 + 256) + (256 * 256 + 256) + (256 * 3 + 3), single = 4 * 256, unit = 2 * 256;
  std::size_t const expected = 2 * half + 4 * (single + unit);
  std::size_t const live = inference.session().arena().live();
  CHECK(live >= expected);
  CHECK(live <= expected + 10 * arena_granularity);
  (void)inferred<float>(inference, Shape{64, 8}, Values(64 * 8, 0.5));
  CHECK(inference.session().arena().live() == live);
}

TEST_CASE("a later step changes the model and not the inference object, until refresh") {
  Model<Wide, Amp<bfloat16>, TestBackend> model{1};
  Shape const shape{4, 8};
  std::mt19937 generator(9);
  Values const input = draw(generator, 32, Draw::coarse);
  auto early = model.eval();  // before the model has taken memory
  Values const untrained = inferred<float>(early, shape, input);
  train_one_step(model);
  CHECK(inferred<float>(early, shape, input) == untrained);

  auto late = model.eval();
  Values const trained = inferred<float>(late, shape, input);
  CHECK(trained != untrained);
  CHECK(model.session().training());
  early.refresh(model);
  CHECK(inferred<float>(early, shape, input) == trained);
  train_one_step(model);  // still trainable
  CHECK(inferred<float>(late, shape, input) == trained);

  auto waiting = model.eval();
  train_one_step(model);
  auto fresh = model.eval();
  CHECK(inferred<float>(waiting, shape, input) != inferred<float>(fresh, shape, input));
  waiting.refresh(model);
  CHECK(inferred<float>(waiting, shape, input) == inferred<float>(fresh, shape, input));
}

TEST_CASE("a batch norm whose folded weights overflow half stays as it is, and refresh refuses one") {
  using Net = nn::Sequential<nn::Linear<2, 2>, nn::BatchNorm1d<2>>;
  Model<Net, Amp<float16>, TestBackend> model{1};
  Values const input{1, 2, 3, 4};
  auto folded = model.eval();
  Values const before = inferred<float>(folded, Shape{2, 2}, input);
  CHECK(folded.folded_norms() == Names{"1"});

  // 4 * 100 / sqrt(1e-5) is about 126491, above half's 65504.
  model.assign("0.weight", {4, 0, 0, 1});
  model.assign("1.weight", {100, 1});
  model.assign("1.running_var", {0, 1});
  CHECK_THROWS_WITH_AS(
      folded.refresh(model),
      "mixprec: 0: with 1 folded in, a weight is 126491.106407, which float16 cannot hold. Make another "
      "object by eval(), which leaves such batch norms as they are.",
      Error);
  CHECK(inferred<float>(folded, Shape{2, 2}, input) == before);
  auto unfolded = model.eval();
  (void)inferred<float>(unfolded, Shape{2, 2}, input);
  CHECK(unfolded.folded_norms().empty());
}

TEST_CASE("an input that does not fit is refused with the layer and both values, and the next one runs") {
  Model<Wide, Fp32, TestBackend> model{1};
  auto inference = model.eval();
  auto const wrong = inference.tensor<float>(Shape{4, 7});
  CHECK_THROWS_WITH_AS(inference(wrong),
                       "mixprec: 0: linear: input features do not fit: expected 8, received 7. Change the layer or the "
                       "shape of its input.",
                       Error);
  CHECK(inferred<float>(inference, Shape{1, 8}, Values(8, 1)).size() == 3);
}

}  // namespace
}  // namespace mixprec::test
