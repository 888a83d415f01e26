// SPDX-License-Identifier: Apache-2.0
// Parameters and buffers are called what PyTorch's state_dict calls them (without num_batches_tracked, which we do not
// keep).
#include <doctest/doctest.h>

#include <mixprec/models/small_resnet.hpp>
#include <nn/collect.hpp>

using namespace mixprec;
using namespace mixprec_test;

namespace {

template <int Width>
struct Attention {  // a user's module with parameters of its own, a child and a plain member
  Parameter<2> query{Shape{Width, Width}};
  nn::Linear<Width, Width, false> out;
  Parameter<1> scale{Shape{Width}, ParameterKind::norm_weight};
  int heads = 4;
  MIXPREC_MODULE(query, out, scale)
};

struct Encoder {
  Attention<8> attention;
  nn::Sequential<nn::Linear<8, 16>, nn::ReLU, nn::Named<"last", nn::Linear<16, 8>>> mlp;
  MIXPREC_MODULE(attention, mlp)
};

using Eight = nn::Sequential<nn::ReLU, nn::ReLU, nn::ReLU, nn::ReLU, nn::ReLU, nn::ReLU, nn::ReLU, nn::ReLU>;

}  // namespace

TEST_CASE("children of Sequential are numbered, unless they have a name") {
  using Net = nn::Sequential<nn::Conv2d<1, 8, 3>, nn::BatchNorm2d<8>, nn::ReLU,
                             nn::Named<"fc", nn::Linear<8, 2, false>>, nn::Sequential<nn::Linear<2, 2>>>;
  CHECK(collect<Net>().state == Names{"0.weight", "0.bias", "1.weight", "1.bias", "1.running_mean", "1.running_var",
                                      "fc.weight", "4.0.weight", "4.0.bias"});
  CHECK(collect<Net>().paths == Names{"", "0", "1", "2", "fc", "4", "4.0"});
}

TEST_CASE("numbers of children go on past nine") {
  using Net = nn::Sequential<nn::ReLU, nn::ReLU, nn::ReLU, nn::ReLU, nn::ReLU, nn::ReLU, nn::ReLU, nn::ReLU, nn::ReLU,
                             nn::ReLU, nn::Linear<1, 1, false>, nn::Linear<1, 1, false>>;
  CHECK(collect<Net>().state == Names{"10.weight", "11.weight"});
}

TEST_CASE("a module that is the whole model has names without a prefix") {
  CHECK(collect<nn::Linear<3, 2>>().state == Names{"weight", "bias"});
  CHECK(collect<nn::Linear<3, 2>>().paths == Names{""});
}

TEST_CASE("users' structs are named by their members, however deep") {
  CHECK(collect<nn::Sequential<Encoder, Encoder>>().state ==
        Names{"0.attention.query", "0.attention.out.weight", "0.attention.scale", "0.mlp.0.weight", "0.mlp.0.bias",
              "0.mlp.last.weight", "0.mlp.last.bias", "1.attention.query", "1.attention.out.weight",
              "1.attention.scale", "1.mlp.0.weight", "1.mlp.0.bias", "1.mlp.last.weight", "1.mlp.last.bias"});
}

TEST_CASE("Residual has a body and a shortcut; the identity has nothing") {
  using Plain = nn::Residual<nn::Sequential<nn::Linear<4, 4>>>;
  using Projected = nn::Residual<nn::Linear<4, 2>, nn::Linear<4, 2, false>>;
  CHECK(collect<Plain>().state == Names{"body.0.weight", "body.0.bias"});
  CHECK(collect<Projected>().state == Names{"body.weight", "body.bias", "shortcut.weight"});
}

TEST_CASE("a region of precision or without training changes no name") {
  using Layer = nn::Linear<4, 4>;
  Names const expected{"0.weight", "0.bias"};
  CHECK(collect<nn::Sequential<nn::ForceFp32<Layer>>>().state == expected);
  CHECK(collect<nn::Sequential<nn::AutoFp16<Layer>>>().state == expected);
  CHECK(collect<nn::Sequential<nn::Under<Fp32, Layer>>>().state == expected);
  CHECK(collect<nn::Sequential<nn::Frozen<Layer>>>().state == expected);
  CHECK(collect<nn::Sequential<nn::ForceFp32<nn::Named<"head", Layer>>>>().state == Names{"head.weight", "head.bias"});
}

TEST_CASE("Frozen freezes everything below it and nothing beside it") {
  using Net = nn::Sequential<nn::Frozen<nn::Sequential<nn::Linear<4, 4>, nn::BatchNorm1d<4>>>, nn::Linear<4, 4>>;
  CHECK(collect<Net>().frozen == Names{"0.0.weight", "0.0.bias", "0.1.weight", "0.1.bias"});
}

TEST_CASE("the small residual network has torchvision's names") {
  Names expected{"conv1.weight"};
  auto const norm = [&](std::string const& path) {
    for (char const* leaf : {".weight", ".bias", ".running_mean", ".running_var"}) expected.push_back(path + leaf);
  };
  norm("bn1");
  for (int layer = 1; layer <= 3; ++layer)
    for (int block = 0; block < 2; ++block) {
      std::string const path = "layer" + std::to_string(layer) + "." + std::to_string(block) + ".";
      expected.push_back(path + "conv1.weight");
      norm(path + "bn1");
      expected.push_back(path + "conv2.weight");
      norm(path + "bn2");
      if (layer > 1 && block == 0) {
        expected.push_back(path + "downsample.0.weight");
        norm(path + "downsample.1");
      }
    }
  expected.insert(expected.end(), {"fc.weight", "fc.bias"});
  CHECK(collect<models::SmallResNet<8, 2>>().state == expected);
}

TEST_CASE("modules without parameters have none") {
  CHECK(collect<Eight>().state.empty());
  CHECK(collect<nn::Sequential<nn::Identity, nn::Flatten, nn::MaxPool2d<2>, nn::AvgPool2d<2>, nn::GlobalAvgPool2d,
                               nn::Dropout<0.1>, nn::Softmax, nn::LogSoftmax>>()
            .state.empty());
  CHECK(collect<Eight>().paths == Names{"", "0", "1", "2", "3", "4", "5", "6", "7"});
}

TEST_CASE("a path has no longest length") {
  nn::Name table[41]{{-1, ""}};
  std::string expected = "abc";
  for (int index = 1; index <= 40; ++index) {
    table[index] = {index - 1, "abc"};
    CHECK(nn::Path(table, table[index]).view() == expected);
    expected += ".abc";
  }
}
