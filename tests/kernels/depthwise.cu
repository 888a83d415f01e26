// SPDX-License-Identifier: Apache-2.0
// The cases of depthwise_cases.hpp on CUDA.
#include <mixprec/cuda.hpp>

#include "harness.hpp"

MIXPREC_TEST_BACKENDS(mixprec::Cuda)

#include "depthwise_cases.hpp"

namespace mixprec::test {
namespace {

MIXPREC_KERNEL_TEST("a depthwise convolution is served by our kernels and nothing is tuned") {
  ConvGeometry const g = convolution(2, 9, 7, 24, 24, 3, 1, 1, 1, 24);
  auto const serves = [&](cuda::ConvOp op) { return cuda::conv2d_plan<float16>(stream, op, g); };
  CHECK(serves(cuda::ConvOp::forward).own == std::string("depthwise_forward"));
  CHECK(serves(cuda::ConvOp::forward_bias).own == std::string("depthwise_forward"));
  CHECK(serves(cuda::ConvOp::backward_input).own == std::string("depthwise_dgrad"));
  CHECK(serves(cuda::ConvOp::backward_weight).own == std::string("depthwise_wgrad"));
  CHECK(serves(cuda::ConvOp::forward).candidates == 0);
}

MIXPREC_KERNEL_TEST("the first depthwise convolution of a geometry can be captured") {
  ConvGeometry const g = convolution(1, 11, 13, 16, 16, 3, 1, 2, 2, 16);
  auto const values = normal_values<float16>(g.inputs(), 76), weights = normal_values<float16>(g.weights(), 77);
  Buffer<Cuda, float16> x(stream, values), w(stream, weights), eager(stream, g.outputs()),
      replayed(stream, g.outputs());
  float16 const *px = x, *pw = w, *no_bias = nullptr;
  cuda::Graph const graph =
      cuda::Graph::capture(stream, [&] { conv2d_forward(stream, g, px, pw, no_bias, replayed.get()); });
  graph.launch(stream);
  conv2d_forward(stream, g, px, pw, no_bias, eager.get());
  check_same(replayed.read(), eager.read());
}

}  // namespace
}  // namespace mixprec::test
