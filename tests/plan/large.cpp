// SPDX-License-Identifier: Apache-2.0
// Two thousand ops are planned without flags: the trace must stay linear in the ops, within the compiler's own limits.
#include <doctest/doctest.h>

#include <plan/large.hpp>

using mixprec_test::large;

TEST_CASE("a plan of two thousand ops says of each what it says of one") {
  for (int row = 1; row <= 2000; ++row) {
    CHECK(large.row[row].extents[1] == 8);
    CHECK(large.row[row].flops == (row % 2 == 1 ? 2.0 * 4 * 8 * 8 : 4.0 * 8));
    CHECK(large.row[row].kept_bytes == (row == 1 || row % 2 == 0 ? 4 * 8 * 2 : 0));
  }
  CHECK(large.path_of(large.row[2000]).view() == "24.39.1");
}
