// SPDX-License-Identifier: Apache-2.0
// Parameters start as PyTorch's defaults say, from the same numbers under every policy.
#include <doctest/doctest.h>

#include <cmath>

#include <mixprec/cpu.hpp>
#include <mixprec/mixprec.hpp>

using namespace mixprec;

namespace {

using Net = nn::Sequential<nn::Conv2d<6, 20, 3, nn::Conv2dOptions{.groups = 2}>, nn::BatchNorm2d<20>,
                           nn::GlobalAvgPool2d, nn::Linear<20, 30>>;

/// Uniform in +-bound: no value outside, the outermost ones near it, mean and variance within five standard errors.
void check_uniform(std::vector<double> const& values, double bound) {
  double sum = 0, squares = 0, largest = 0;
  for (double const value : values)
    sum += value, squares += value * value, largest = std::max(largest, std::abs(value));
  auto const count = static_cast<double>(values.size());
  CHECK(largest <= bound);
  CHECK(largest > bound * (1 - 12 / count));
  CHECK(std::abs(sum / count) < 5 * bound / std::sqrt(3 * count));
  CHECK(std::abs(squares / count - bound * bound / 3) < 5 * bound * bound * std::sqrt(4.0 / 45 / count));
}
void check_constant(std::vector<double> const& values, std::size_t count, double constant) {
  CHECK(values == std::vector<double>(count, constant));
}

/// Draws the parameters and lays them out by a first call, so that they have been stored as the policy says.
template <class Policy>
std::vector<std::vector<double>> stored(std::uint64_t seed) {
  Model<Net, Policy, Cpu> model{seed};
  auto const image = model.template tensor<float>(Shape{2, 6, 4, 4});
  std::vector<float> const zeros(static_cast<std::size_t>(image.size()));
  Cpu::copy_from_host(model.stream(), image.data(), zeros.data(), image.bytes());
  NoGrad const guard(model);
  (void)model(image);
  std::vector<std::vector<double>> all;
  for (std::string const& name : model.names())
    if (name.find("running") == std::string::npos) all.push_back(model.values(name));
  return all;
}

}  // namespace

TEST_CASE("weights and biases are uniform within 1/sqrt(fan_in), norms start as the identity") {
  for (std::uint64_t const seed : {0u, 1u, 12345u}) {
    CAPTURE(seed);
    Model<Net, Fp32, Cpu> model{seed};
    CHECK(model.shape_of("0.weight") == std::vector<std::int64_t>{20, 3, 3, 3});
    check_uniform(model.values("0.weight"), 1 / std::sqrt(27.0));  // fan_in counts the channels of one group
    check_uniform(model.values("3.weight"), 1 / std::sqrt(20.0));
    for (double const value : model.values("0.bias")) CHECK(std::abs(value) <= 1 / std::sqrt(27.0));
    for (double const value : model.values("3.bias")) CHECK(std::abs(value) <= 1 / std::sqrt(20.0));
    check_constant(model.values("1.weight"), 20, 1.0);
    check_constant(model.values("1.bias"), 20, 0.0);
    check_constant(model.values("1.running_mean"), 20, 0.0);
    check_constant(model.values("1.running_var"), 20, 1.0);
  }
}

TEST_CASE("the same seed gives the same parameters under every policy, another seed gives others") {
  auto const reference = stored<Fp32>(7);
  CHECK(stored<Fp32>(7) == reference);
  CHECK(stored<Fp32>(8) != reference);
  CHECK(stored<Amp<bfloat16>>(7) == reference);  // the masters are float
  CHECK(stored<ApexO2>(7) == reference);
  auto const in_double = stored<Fp64>(7), in_half = stored<ApexO3>(7);
  REQUIRE(in_double.size() == reference.size());
  for (std::size_t entry = 0; entry < reference.size(); ++entry)
    for (std::size_t index = 0; index < reference[entry].size(); ++index) {
      REQUIRE(reference[entry][index] == static_cast<double>(static_cast<float>(in_double[entry][index])));
      REQUIRE(in_half[entry][index] == convert<double>(convert<float16>(in_double[entry][index])));
    }
}

TEST_CASE("no two parameters start from the same numbers") {
  using Twins = nn::Sequential<nn::Linear<6, 6>, nn::Linear<6, 6>>;
  Model<Twins, Fp32, Cpu> model{3};
  CHECK(model.values("0.weight") != model.values("1.weight"));
  CHECK(model.values("0.bias") != model.values("1.bias"));
}
