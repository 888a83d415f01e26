// SPDX-License-Identifier: Apache-2.0
// The printed plan, held to files beside this one. A change that is meant is copied there from the failure's output.
#include <doctest/doctest.h>

#include <fstream>
#include <iterator>
#include <string>

#include <mixprec/mixprec.hpp>
#include <mixprec/plan/text.hpp>

using namespace mixprec;

namespace {

using SmallNet = nn::Sequential<nn::Conv2d<1, 8, 3, nn::Conv2dOptions{.padding = 1}>, nn::BatchNorm2d<8>,
                                nn::MaxPool2d<2>, nn::Flatten, nn::Named<"fc", nn::Linear<8 * 7 * 7, 10>>>;
constexpr auto const& small = plan<SmallNet, Amp<float16>, Shape{32, 1, 14, 14}>;

std::string golden(std::string const& name) {
  std::string const path = MIXPREC_TEST_FOLDER "/plan/" + name;
  std::ifstream file(path, std::ios::binary);
  REQUIRE_MESSAGE(file.good(), "cannot open " << path);
  return {std::istreambuf_iterator<char>(file), {}};
}

}  // namespace

TEST_CASE("the plan as text is the one in small_net.txt") { CHECK(to_text(small) == golden("small_net.txt")); }

TEST_CASE("the plan as Markdown is the one in small_net.md") { CHECK(to_markdown(small) == golden("small_net.md")); }

TEST_CASE("numbers have three decimals, rounded to the nearest") {
  CHECK(detail::thousandths(0) == "0.000");
  CHECK(detail::thousandths(7) == "0.007");
  CHECK(detail::thousandths(1234) == "1.234");
  CHECK(detail::thousandths(1000000) == "1000.000");
  CHECK(detail::megaflops(1499) == "0.001");
  CHECK(detail::megaflops(1500) == "0.002");
  CHECK(detail::megaflops(4.1e12) == "4100000.000");
  CHECK(detail::kibibytes(512) == "0.500");
  CHECK(detail::kibibytes(1) == "0.001");
  CHECK(detail::kibibytes(std::int64_t{80} << 30) == "83886080.000");
}

TEST_CASE("a plan's text names the model itself where a path is empty, and ends every line without blanks") {
  std::string const text = to_text(plan<nn::Linear<4, 3>, Fp32, Shape{2, 4}>);
  CHECK(text.find("\n(model) ") != std::string::npos);
  CHECK(text.find(" \n") == std::string::npos);
  CHECK(text.find("\t") == std::string::npos);
}
