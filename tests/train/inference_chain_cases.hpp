// SPDX-License-Identifier: Apache-2.0
// Inference objects of a chain of layers: a file of its own for the sake of compile time.
#include "inference_folding.hpp"

namespace mixprec::test {
namespace {

// Convolutions and linear layers with and without a bias, a pool and a dropout behind a batch norm.
using Chain = nn::Sequential<nn::Conv2d<3, 6, 3, NoBias{.padding = 1, .bias = false}>, nn::BatchNorm2d<6>, nn::ReLU,
                             nn::Conv2d<6, 8, 3, NoBias{.padding = 1, .groups = 2}>, nn::BatchNorm2d<8>,
                             nn::MaxPool2d<2>, nn::Dropout<0.5>, nn::Flatten, nn::Linear<8 * 9, 7>, nn::BatchNorm1d<7>,
                             nn::ReLU, nn::Linear<7, 5, false>, nn::BatchNorm1d<5>>;
struct ChainCase {
  using Net = Chain;
  static Names folded() { return {"1", "4", "9", "12"}; }
};

TEST_CASE("inference folds each batch norm of a chain into the convolution or linear layer before it") {
  check_folding_under_policies<ChainCase>();
}

}  // namespace
}  // namespace mixprec::test
