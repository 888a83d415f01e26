// SPDX-License-Identifier: Apache-2.0
// Our convolution kernels one by one, because the tuner would test only those that win on the machine at hand.
#include <stdlib.h>  // setenv

#include <filesystem>

#include <mixprec/cuda.hpp>

#include "conv2d_oracle.hpp"
#include "harness.hpp"

MIXPREC_TEST_BACKENDS(mixprec::Cuda)

namespace mixprec::test {
namespace {

using cuda::ConvOp;

/// A geometry and how many operations of the three have a kernel of ours.
struct NarrowCase {
  ConvGeometry g;
  std::size_t kernels;
};

// Odd extents, single images, strips that end inside and at the end of a row, rows enough to go around the ring of
// rows in shared memory, images shorter than a window's overlap, every padding.
std::vector<NarrowCase> narrow_cases() {
  return {{convolution(1, 1, 1, 32, 32, 3, 1, 1, 1, 1), 3},   {convolution(3, 13, 28, 32, 32, 3, 1, 1, 1, 1), 3},
          {convolution(1, 9, 33, 32, 32, 3, 1, 0, 1, 1), 3},  {convolution(2, 5, 16, 32, 32, 3, 1, 2, 1, 1), 3},
          {convolution(3, 7, 15, 16, 16, 3, 1, 1, 1, 1), 3},  {convolution(8, 1000, 3, 16, 16, 3, 1, 1, 1, 1), 3},
          {convolution(700, 3, 3, 32, 32, 3, 1, 0, 1, 1), 3}, {convolution(1, 11, 17, 64, 64, 3, 1, 1, 1, 1), 1},
          {convolution(3, 8, 14, 64, 64, 3, 1, 1, 1, 1), 1},  {convolution(3, 28, 28, 1, 32, 3, 1, 1, 1, 1), 2},
          {convolution(1, 29, 31, 1, 16, 3, 2, 1, 1, 1), 2},  {convolution(1, 15, 70, 3, 64, 3, 2, 1, 1, 1), 2},
          {convolution(2, 9, 12, 4, 32, 3, 1, 0, 1, 1), 2},   {convolution(1, 40, 17, 1, 64, 5, 1, 2, 1, 1), 2},
          {convolution(600, 5, 5, 1, 32, 3, 1, 1, 1, 1), 2},  {convolution(1, 3, 600, 3, 16, 3, 1, 1, 1, 1), 2},
          {convolution(1, 8, 8, 32, 32, 3, 2, 1, 1, 1), 0},   {convolution(1, 8, 8, 32, 32, 3, 1, 1, 1, 2), 0},
          {convolution(1, 8, 8, 32, 32, 3, 1, 2, 2, 1), 0},   {convolution(1, 8, 8, 24, 32, 3, 1, 1, 1, 1), 0}};
}

template <class T>
void check_kernels(cuda::Stream& stream, NarrowCase const& test) {
  ConvGeometry const& g = test.g;
  INFO("dtype " << std::string(name_of(dtype_of_v<T>)) << " x " << g.n << "," << g.h << "," << g.w << "," << g.c
                << " k " << g.k << " kernel " << g.r << " stride " << g.stride << " padding " << g.padding);
  auto const x = normal_values<T>(g.inputs(), 60), w = normal_values<T>(g.weights(), 61);
  auto const dy = normal_values<T>(g.outputs(), 62);
  ConvOracle const expected(g, x, w, dy);
  std::size_t kernels = 0;
  for (ConvOp op : {ConvOp::forward, ConvOp::backward_input, ConvOp::backward_weight}) {
    for (cuda::detail::OwnConv const& kernel : cuda::detail::own_convs<T>(stream, op, g)) {
      ++kernels;
      INFO(std::string(kernel.name));
      std::vector<T> results[2];
      for (std::vector<T>& result : results) {
        bool const to_y = op == ConvOp::forward, to_x = op == ConvOp::backward_input;
        Buffer<Cuda, T> y(stream, g.outputs()), dx(stream, g.inputs()), dw(stream, g.weights());
        Buffer<Cuda, T> in_x(stream, x), in_w(stream, w), in_dy(stream, dy);
        kernel.run(stream, g, to_x ? dx : in_x, to_x || to_y ? in_w : dw, to_y ? y : in_dy);
        result = to_y ? y.read() : to_x ? dx.read() : dw.read();
      }
      check_close(results[0], op == ConvOp::forward          ? expected.y
                              : op == ConvOp::backward_input ? expected.dx
                                                             : expected.dw);
      check_same(results[0], results[1]);
    }
  }
  CHECK(kernels == test.kernels);
}

MIXPREC_KERNEL_TEST("every convolution kernel of ours matches the definition, twice with the same bits") {
  for (NarrowCase const& test : narrow_cases()) {
    check_kernels<float16>(stream, test);
    check_kernels<bfloat16>(stream, test);
  }
  CHECK(cuda::detail::own_convs<float>(stream, ConvOp::forward, narrow_cases()[0].g).empty());
}

TEST_CASE("a second stream takes the choice between cuDNN and our kernels from the cache") {
  std::filesystem::path const directory = std::filesystem::temp_directory_path() / "mixprec_narrow_conv_test";
  std::filesystem::remove_all(directory);
  setenv("MIXPREC_CACHE_DIR", directory.c_str(), 1);
  ConvGeometry const g = convolution(64, 28, 28, 1, 32, 3, 1, 1, 1, 1);
  cuda::Stream first, second;
  cuda::ConvPlanInfo const planned = cuda::conv2d_plan<float16>(first, ConvOp::backward_weight, g);
  cuda::ConvPlanInfo const recalled = cuda::conv2d_plan<float16>(second, ConvOp::backward_weight, g);
  CHECK(planned.found);
  CHECK_FALSE(planned.from_disk);
  CHECK(planned.candidates > 0);
  CHECK(recalled.from_disk);
  CHECK(recalled.choice == planned.choice);
  CHECK((recalled.own == nullptr) == (planned.own == nullptr));
  unsetenv("MIXPREC_CACHE_DIR");
  std::filesystem::remove_all(directory);
}

}  // namespace
}  // namespace mixprec::test
