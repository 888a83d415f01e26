// SPDX-License-Identifier: Apache-2.0
// Two thousand ops are planned without flags: the trace must stay linear in the ops, within the compiler's own limits.
#include <doctest/doctest.h>

#include <mixprec/plan/plan.hpp>

using namespace mixprec;

namespace {

template <class M, class Indices>
struct RepeatOf;
template <class M, std::size_t... I>
struct RepeatOf<M, std::index_sequence<I...>> {
  template <std::size_t>
  using One = M;
  using type = nn::Sequential<One<I>...>;
};
template <class M, std::size_t Times>
using Repeat = typename RepeatOf<M, std::make_index_sequence<Times>>::type;

using Net = Repeat<Repeat<nn::Sequential<nn::Linear<8, 8>, nn::ReLU>, 40>, 25>;
constexpr auto const& large = plan<Net, Amp<float16>, Shape{4, 8}>;
static_assert(large.rows() == 1 + 2000 + 1);  // the input's cast, the model, the loss
static_assert(large.materialized_casts() == 1);

}  // namespace

TEST_CASE("a plan of two thousand ops says of each what it says of one") {
  for (int row = 1; row <= 2000; ++row) {
    CHECK(large.row[row].extents[1] == 8);
    CHECK(large.row[row].flops == (row % 2 == 1 ? 2.0 * 4 * 8 * 8 : 4.0 * 8));
    CHECK(large.row[row].kept_bytes == (row == 1 || row % 2 == 0 ? 4 * 8 * 2 : 0));
  }
  CHECK(large.path_of(large.row[2000]).view() == "24.39.1");
}
