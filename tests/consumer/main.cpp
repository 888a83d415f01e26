// SPDX-License-Identifier: Apache-2.0
// What a consumer's build must provide: the headers, C++20, and the components that mixprec was installed with.
#include <cstdio>

#include <mixprec/dtype/dtype.hpp>
#include <mixprec/error.hpp>

int main() {
  std::printf("onednn=%d openmp=%d\n", MIXPREC_HAS_ONEDNN(), MIXPREC_HAS_OPENMP());
  constexpr auto third = mixprec::convert<mixprec::bfloat16>(1.0 / 3.0);
  static_assert(third.bits == 0x3eab);
  try {
    throw mixprec::Error("1 is not 2. Do nothing.");
  } catch (mixprec::Error const& error) {
    std::printf("%s\n", error.what());
  }
  return MIXPREC_HAS_ONEDNN() == EXPECT_ONEDNN && MIXPREC_HAS_OPENMP() == EXPECT_OPENMP ? 0 : 1;
}
