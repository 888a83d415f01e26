// SPDX-License-Identifier: Apache-2.0
// Probabilities as template arguments: the number that is written is the number that the op gets.
#include <limits>
#include <type_traits>

#include <mixprec/cpu.hpp>
#include <mixprec/mixprec.hpp>

#include <doctest/doctest.h>

namespace mixprec::test {
namespace {

using nn::Probability;

template <Probability P>
constexpr double of = P.value();

static_assert(of<0.25> == 0.25 && of<0.1> == 0.1 && of<0.3> == 0.3 && of<0.7> == 0.7 && of<0.999999999> == 0.999999999);
static_assert(of<0.0> == 0.0 && of<0> == 0.0);
static_assert(Probability(0.1f).value() - 0.1 < 1e-8);
static_assert(std::is_same_v<nn::Dropout<>, nn::Dropout<0.5>>);
static_assert(std::is_same_v<nn::Dropout<0.5>, nn::Dropout<1.0 / 2>>);
static_assert(!std::is_same_v<nn::Dropout<0.1>, nn::Dropout<0.2>>);

constexpr double not_a_number = std::numeric_limits<double>::quiet_NaN(),
                 infinite = std::numeric_limits<double>::infinity();
static_assert(Probability(0.0).valid() && Probability(0).valid() && Probability(0.999).valid());
static_assert(!Probability(1.0).valid() && !Probability(1).valid() && !Probability(250).valid());
static_assert(!Probability(-0.1).valid() && !Probability(-1).valid() && !Probability(1e300).valid());
static_assert(!Probability(not_a_number).valid() && !Probability(infinite).valid() && !Probability(-infinite).valid());

TEST_CASE("every probability of up to four decimals comes out of the fraction as it was written") {
  for (int parts = 0; parts < 10000; ++parts) CHECK(Probability(parts / 10000.0).value() == parts / 10000.0);
}

TEST_CASE("Dropout<0.25> drops a quarter of the elements and scales the others by 4/3") {
  Model<nn::Sequential<nn::Dropout<0.25>>, Fp32, Cpu> model{1};
  constexpr std::int64_t count = 40000;
  auto const x = model.tensor<float>(Shape{100, count / 100});
  std::vector<float> const ones(count, 1.0f);
  copy_from_host(model.stream(), x, ones.data(), ones.size());
  std::int64_t dropped = 0;
  for (float const y : to_host(model.stream(), model(x).tensor())) {
    CHECK((y == 0.0f || y == static_cast<float>(1.0 / 0.75)));
    dropped += y == 0.0f ? 1 : 0;
  }
  // A binomial number: its standard deviation is sqrt(count p (1-p)) = 87, and six of them are never left.
  CHECK(dropped > count / 4 - 6 * 87);
  CHECK(dropped < count / 4 + 6 * 87);
}

}  // namespace
}  // namespace mixprec::test
