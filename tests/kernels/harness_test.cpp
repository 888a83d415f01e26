// SPDX-License-Identifier: Apache-2.0
// The harness of kernel tests itself: a backend that cannot start is a failure.
#include <mixprec/backend/cpu/cpu.hpp>

#include "harness.hpp"

namespace {

struct Broken {
  struct Stream {
    Stream() { throw mixprec::Error("the device is lost. Reset it."); }
  };
};

TEST_CASE("a backend that does not start fails the kernel test, and the next one too") {
  CHECK_THROWS_AS(mixprec::test::stream_of<Broken>(), mixprec::Error);
  CHECK_THROWS_AS(mixprec::test::stream_of<Broken>(), mixprec::Error);
  mixprec::cpu::Stream& first = mixprec::test::stream_of<mixprec::Cpu>();
  CHECK(&first == &mixprec::test::stream_of<mixprec::Cpu>());
}

}  // namespace
