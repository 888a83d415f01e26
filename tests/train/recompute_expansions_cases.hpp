// SPDX-License-Identifier: Apache-2.0
// RecomputeExpansions: the same bits as RecomputeNorms, less memory, and the plan knows both.
#include <mixprec/nn/branches.hpp>

#include "recompute_training.hpp"

namespace mixprec::test {
namespace {

inline constexpr Shape expansions_input{4, 3, 12, 10};

template <int In, int Out>
using Widen = nn::Conv2d<In, Out, 1, nn::Conv2dOptions{.bias = false}>;

/// Widening 1x1 convolutions: of a kept value behind a residual, of a recomputed one, of the deepest that can be
/// recomputed, frozen, into a wider result; norms behind them, with readers, with a residual and behind each other;
/// readers in a float region and in a block that backward runs again.
struct ExpansionsNet {
  Block<3, 8> first;
  Block<8, 16, 1> widened;  // three blocks deep
  Widen<16, 24> too_deep;   // kept
  nn::BatchNorm2d<24> deep_norm;
  Block<24, 8> narrow;
  nn::Frozen<Widen<8, 16>> frozen;  // kept, since no weight gradient reads its operand
  nn::BatchNorm2d<16> frozen_norm;
  nn::Conv2d<8, 16, 1> shortcut;  // with a bias
  nn::BatchNorm2d<16> shortcut_norm;
  nn::Under<Fp32, Block<16, 16>> region;
  nn::Recompute<Block<16, 8>> again;
  nn::Concat<Block<8, 16, 1>, Block<8, 24>> branches;
  nn::Conv2d<40, 8, 1> last;
  nn::GlobalAvgPool2d pool;
  nn::Linear<8, 5> fc;
  MIXPREC_MODULE(first, widened, too_deep, deep_norm, narrow, frozen, frozen_norm, shortcut, shortcut_norm, region,
                 again, branches, last, pool, fc)

  constexpr auto operator()(auto const& x) const {
    auto const deep = relu(deep_norm(too_deep(widened(first(x)))));
    auto const slim = narrow(deep);
    auto const skip = shortcut_norm(shortcut(slim));
    auto const joined = relu(frozen_norm(frozen(slim)) + skip);
    return fc(pool(last(branches(again(auto_fp16(region(joined)))))));
  }
};

TEST_CASE("recomputed expansions change no bit of training, and the plan has their rows and their peak") {
  check_recomputes<ExpansionsNet, RecomputeExpansions<Fp32>, RecomputeNorms<Fp32>, expansions_input>();
  check_recomputes<ExpansionsNet, RecomputeExpansions<ApexO2>, RecomputeNorms<ApexO2>, expansions_input>();
}

TEST_CASE("logits that outlive backward do not hold what their recipe read") {
  Model<nn::Sequential<Block<3, 4>, nn::Conv2d<4, 5, 1>>, RecomputeExpansions<Fp32>, TestBackend> model{1};
  Shape const pixels{expansions_input[0], expansions_input[2], expansions_input[3]};
  Batch<float, 4> const batch(expansions_input, 5);
  auto const image = model.template tensor<float>(expansions_input);
  auto const label = model.template tensor<std::int32_t>(pixels);
  copy_from_host(model.stream(), image, batch.image.data(), batch.image.size());
  copy_from_host(model.stream(), label, std::vector<std::int32_t>(static_cast<std::size_t>(label.size()), 3).data(),
                 static_cast<std::size_t>(label.size()));
  model.session().begin_step();
  auto const logits = model(image);
  auto const loss = cross_entropy(logits, label);
  auto const recipe = [&] { return logits.tensor().storage().recipe(); };
  REQUIRE(recipe() != nullptr);
  CHECK(recipe()->depth == 2);
  model.session().backward(loss);
  CHECK(recipe() == nullptr);
}

}  // namespace
}  // namespace mixprec::test
