// SPDX-License-Identifier: Apache-2.0
// Concat and Sum: what a user's struct would compute, PyTorch's names, and rows in the order of the branches.
#include "ops/harness.hpp"

MIXPREC_TEST_BACKEND(mixprec::Cpu)

#include "train/plan_cases.hpp"

namespace mixprec::test {
namespace {

using Wide = nn::Conv2d<2, 8, 3, nn::Conv2dOptions{.padding = 1}>;
using Narrow = nn::Conv2d<2, 4, 1>;
template <int C>
using Normed = nn::Sequential<nn::Conv2d<2, C, 3, nn::Conv2dOptions{.padding = 1, .bias = false}>, nn::BatchNorm2d<C>>;

using Branched =
    nn::Sequential<nn::Concat<Wide, nn::Named<"narrow", Normed<4>>, nn::Identity>, nn::BatchNorm2d<14>, nn::ReLU,
                   nn::Sum<nn::Conv2d<14, 6, 3, nn::Conv2dOptions{.padding = 1}>, nn::Conv2d<14, 6, 1>,
                           nn::Sequential<nn::Conv2d<14, 6, 1>, nn::ReLU>>,
                   nn::GlobalAvgPool2d, nn::Linear<6, 4>>;
constexpr Shape branched_input{3, 2, 6, 6};

/// The same model, written by hand.
struct ByHand {
  struct Concat {
    Wide a;
    Normed<4> narrow;
    MIXPREC_MODULE(a, narrow)
    constexpr auto operator()(auto const& x) const {
      auto const first = a(x);
      auto const second = narrow(x);
      return concat(first, second, x);
    }
  } cat;
  nn::BatchNorm2d<14> bn;
  struct Sum {
    nn::Conv2d<14, 6, 3, nn::Conv2dOptions{.padding = 1}> a;
    nn::Conv2d<14, 6, 1> b;
    nn::Conv2d<14, 6, 1> c;
    MIXPREC_MODULE(a, b, c)
    constexpr auto operator()(auto const& x) const {
      auto const first = a(x);
      auto const second = b(x);
      auto const third = relu(c(x));
      return first + second + third;
    }
  } sum;
  nn::GlobalAvgPool2d pool;
  nn::Linear<6, 4> fc;
  MIXPREC_MODULE(cat, bn, sum, pool, fc)
  constexpr auto operator()(auto const& x) const { return fc(pool(sum(relu(bn(cat(x)))))); }
};

TEST_CASE("branches are named by number or by Named") {
  Model<Branched, Fp32, Cpu> model;
  CHECK(model.names()[0] == "0.0.weight");
  CHECK(model.names()[2] == "0.narrow.0.weight");
  CHECK(model.names()[3] == "0.narrow.1.weight");
  CHECK(model.names()[7] == "3.0.weight");
  CHECK(model.names()[9] == "3.1.weight");
  CHECK(model.names()[11] == "3.2.0.weight");
}

TEST_CASE("Concat and Sum train bit for bit as the same model written by hand") {
  for_some_policies([&]<class Policy>() {
    auto const train = []<class Net>(std::type_identity<Net>) {
      Model<Net, Policy, Cpu> model{2};
      Sgd opt{model, {.momentum = 0.9}};
      Scaler<StaticScale<128>> const scaler;
      Step step{model, opt, scaler, Constant{.lr = 0.05}, Loss{}};
      Batch<input_of_t<Policy>, 4> const batch(branched_input, 3);
      for (int index = 0; index < 3; ++index) step(batch.host_image(), batch.host_label());
      std::vector<Values> state;
      for (std::string const& name : model.names()) state.push_back(model.values(name));
      return state;
    };
    CHECK(train(std::type_identity<Branched>{}) == train(std::type_identity<ByHand>{}));
  });
}

TEST_CASE("an add in Sum joins the batch norm that ends its first branch") {
  using Block = nn::Sum<nn::Sequential<nn::Conv2d<2, 2, 1>, nn::BatchNorm2d<2>>, nn::Identity>;
  using Net = nn::Sequential<Block, nn::ReLU, nn::GlobalAvgPool2d>;
  constexpr auto const& of = plan<Net, Amp<float16>, Shape{3, 2, 6, 6}>;
  // The input is float here, so the sum is float and stays an op; behind a convolution everything is half.
  using Deep = nn::Sequential<nn::Conv2d<2, 2, 1>, Block, nn::ReLU, nn::GlobalAvgPool2d>;
  constexpr auto const& deep = plan<Deep, Amp<float16>, Shape{3, 2, 6, 6}>;
  auto const ops = [](auto const& plan_of) {
    std::string text;
    for (int at = 0; at < plan_of.rows(); ++at) text += std::string(plan_of.row[at].op) + " ";
    return text;
  };
  CHECK(ops(of) == "cast conv2d batch_norm add relu global_avg_pool2d cross_entropy ");
  CHECK(ops(deep) == "cast conv2d conv2d batch_norm+add+relu global_avg_pool2d cross_entropy ");
}

MIXPREC_PLAN_ROWS_TEST(Branched, branched_input, 3)
MIXPREC_PLAN_PEAK_TEST(Branched, branched_input, 3)

}  // namespace
}  // namespace mixprec::test
