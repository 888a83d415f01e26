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

/// A geometry, and how many operations of the three have a kernel of ours in half and in float.
struct OwnConvCase {
  ConvGeometry g;
  std::size_t half, single = 3;
};

// Odd extents, single images, strips that end inside and at the end of a row, rows enough to go around the ring of
// rows in shared memory, images shorter than a window's overlap, every padding; windows with gaps, pixels that no
// window covers, channels that fill sixteen bytes and that do not.
std::vector<OwnConvCase> own_conv_cases() {
  return {{convolution(1, 1, 1, 32, 32, 3, 1, 1, 1, 1), 3},     {convolution(3, 13, 28, 32, 32, 3, 1, 1, 1, 1), 3},
          {convolution(1, 9, 33, 32, 32, 3, 1, 0, 1, 1), 3},    {convolution(2, 5, 16, 32, 32, 3, 1, 2, 1, 1), 3},
          {convolution(3, 7, 15, 16, 16, 3, 1, 1, 1, 1), 3},    {convolution(8, 1000, 3, 16, 16, 3, 1, 1, 1, 1), 3},
          {convolution(700, 3, 3, 32, 32, 3, 1, 0, 1, 1), 3},   {convolution(1, 11, 17, 64, 64, 3, 1, 1, 1, 1), 1},
          {convolution(3, 8, 14, 64, 64, 3, 1, 1, 1, 1), 1},    {convolution(3, 28, 28, 1, 32, 3, 1, 1, 1, 1), 2},
          {convolution(1, 29, 31, 1, 16, 3, 2, 1, 1, 1), 2, 2}, {convolution(1, 15, 70, 3, 64, 3, 2, 1, 1, 1), 2, 2},
          {convolution(2, 9, 12, 4, 32, 3, 1, 0, 1, 1), 2},     {convolution(1, 40, 17, 1, 64, 5, 1, 2, 1, 1), 2},
          {convolution(600, 5, 5, 1, 32, 3, 1, 1, 1, 1), 2},    {convolution(1, 3, 600, 3, 16, 3, 1, 1, 1, 1), 2},
          {convolution(1, 8, 8, 32, 32, 3, 2, 1, 1, 1), 0, 2},  {convolution(1, 8, 8, 32, 32, 3, 1, 1, 1, 2), 0, 0},
          {convolution(1, 8, 8, 32, 32, 3, 1, 2, 2, 1), 0},     {convolution(1, 8, 8, 24, 32, 3, 1, 1, 1, 1), 0},
          {convolution(3, 11, 14, 6, 10, 3, 3, 1, 2, 1), 0, 2}, {convolution(2, 9, 10, 5, 7, 2, 3, 0, 1, 1), 0, 2},
          {convolution(3, 11, 14, 6, 10, 3, 1, 4, 3, 1), 0},    {convolution(2, 9, 10, 5, 7, 2, 1, 2, 1, 1), 0},
          {convolution(3, 6, 7, 17, 33, 1, 1, 0, 1, 1), 3},     {convolution(2, 16, 8, 64, 40, 1, 1, 0, 1, 1), 3},
          {convolution(2, 10, 9, 4, 6, 1, 2, 0, 1, 1), 0, 2},   {convolution(2, 5, 5, 8, 8, 1, 1, 1, 1, 1), 0}};
}

template <class T>
void check_kernels(cuda::Stream& stream, OwnConvCase const& test) {
  ConvGeometry const& g = test.g;
  INFO("dtype " << std::string(name_of(dtype_of_v<T>)) << " x " << g.n << "," << g.h << "," << g.w << "," << g.c
                << " k " << g.k << " kernel " << g.r << " stride " << g.stride << " padding " << g.padding
                << " dilation " << g.dilation << " groups " << g.groups);
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
  CHECK(kernels == (std::is_same_v<T, float> ? test.single : test.half));
}

MIXPREC_KERNEL_TEST("every convolution kernel of ours matches the definition, twice with the same bits") {
  for (OwnConvCase const& test : own_conv_cases()) {
    check_kernels<float16>(stream, test);
    check_kernels<bfloat16>(stream, test);
    check_kernels<float>(stream, test);
  }
}

// Two rows of y have as many pixels as fill a GPU of one multiprocessor twice: 2 * 128 * 128 / (12 * 1366).
TEST_CASE("columns that do not fit at once go by rows, and by taps where rows would get too few") {
  ConvGeometry g = convolution(3, 9, 12, 8, 1366, 3, 1, 1, 1, 1);
  auto const row = static_cast<std::size_t>(g.q * g.c) * sizeof(float);
  struct Fitting {
    std::size_t rows_of_a_tap;
    std::int64_t rows_apart, taps_apart, rows_together;
  };
  for (Fitting const& fitting : std::vector<Fitting>{
           {1, 1, 1, 0}, {2, 2, 1, 0}, {9, 3, 3, 1}, {10, 2, 5, 1}, {18, 2, 9, 2}, {27, 3, 9, 3}, {299, 27, 9, 27}}) {
    INFO(fitting.rows_of_a_tap << " rows of a tap");
    std::size_t const room = fitting.rows_of_a_tap * row;
    cuda::detail::Columns const apart = cuda::detail::columns_at_once(g, room + 16, 1, 4, true);
    cuda::detail::Columns const together = cuda::detail::columns_at_once(g, room, 1, 0, false);
    CHECK(apart.rows == fitting.rows_apart);
    CHECK(apart.taps == fitting.taps_apart);
    CHECK(apart.bytes(g) <= room + 16);
    CHECK(together.rows == fitting.rows_together);
    CHECK(together.bytes(g) <= room);
  }
  CHECK(cuda::detail::columns_at_once(g, row + 15, 1, 4, true).rows == 0);
}

TEST_CASE("columns give the same within every workspace cap, and none are offered where one row's do not fit") {
  cuda::Stream stream;
  // 360 rows of y, of which 176 fill 132 multiprocessors.
  OwnConvCase const test{convolution(6, 60, 48, 4, 512, 3, 1, 1, 1, 1), 0};
  auto const row = static_cast<std::size_t>(test.g.q * test.g.c) * sizeof(float);
  auto const weights = static_cast<std::size_t>(test.g.weights()) * sizeof(float);
  for (std::size_t const rows_of_a_tap : {1000, 600, 100}) {
    stream.set_workspace_cap(cuda::matmul_workspace_cap + weights + rows_of_a_tap * row);
    check_kernels<float>(stream, {test.g, 0, rows_of_a_tap == 100 ? 2u : 3u});  // a row of dy is 128 of these
  }
  stream.set_workspace_cap(cuda::matmul_workspace_cap + weights + row - 1);
  CHECK(cuda::detail::own_convs<float>(stream, ConvOp::forward, test.g).empty());
  stream.set_workspace_cap(cuda::matmul_workspace_cap + 9 * row - 1);
  CHECK(cuda::detail::own_convs<float>(stream, ConvOp::backward_weight, test.g).empty());
  stream.set_workspace_cap(cuda::default_workspace_cap);
  for (ConvGeometry const& empty :
       {convolution(0, 9, 12, 8, 8, 3, 1, 1, 1, 1), convolution(1, 9, 12, 0, 8, 3, 1, 1, 1, 1)})
    CHECK(cuda::detail::own_convs<float>(stream, ConvOp::forward, empty).empty());
}

TEST_CASE("a workspace goes back to what it was unless a graph holds on to it") {
  cuda::Stream stream;
  auto const free_bytes = [] {
    std::size_t free = 0, total = 0;
    cuda::check(cudaMemGetInfo(&free, &total), "cudaMemGetInfo");
    return free;
  };
  std::size_t const small = std::size_t{4} << 20, large = std::size_t{128} << 20;
  stream.workspace(small);
  stream.workspace(large);
  std::size_t const before = free_bytes();
  stream.trim_workspace(small);
  CHECK(stream.workspace_used() == small);
  CHECK(free_bytes() >= before + large / 2);

  auto const fill = [&](std::size_t bytes) {
    return cuda::Graph::capture(stream, [&] {
      cuda::check(cudaMemsetAsync(stream.workspace(bytes), 0, bytes, stream.handle()), "cudaMemsetAsync");
    });
  };
  CHECK_NOTHROW(fill(small));  // what was used before is there again
  stream.workspace(large);
  cuda::Graph const graph = fill(large);
  std::size_t const held = free_bytes();
  stream.trim_workspace(small);
  CHECK(free_bytes() == held);
}

TEST_CASE("tuning leaves the workspace as it was") {
  std::filesystem::path const directory = std::filesystem::temp_directory_path() / "mixprec_workspace_test";
  std::filesystem::remove_all(directory);
  setenv("MIXPREC_CACHE_DIR", directory.c_str(), 1);
  {
    cuda::Stream stream;
    std::size_t const used = std::size_t{1} << 20;
    stream.workspace(used);
    cuda::ConvPlanInfo const info =
        cuda::conv2d_plan<float>(stream, ConvOp::forward, convolution(2, 71, 67, 64, 72, 3, 1, 1, 1, 1));
    CHECK_FALSE(info.from_disk);
    CHECK(info.candidates > 1);  // columns ask for more than was used
    CHECK(stream.workspace_used() == used);
  }
  unsetenv("MIXPREC_CACHE_DIR");
  std::filesystem::remove_all(directory);
}

TEST_CASE("a second stream takes the choice between cuDNN and our kernels from the cache") {
  std::filesystem::path const directory = std::filesystem::temp_directory_path() / "mixprec_own_convs_test";
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
