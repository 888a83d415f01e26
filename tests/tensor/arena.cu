// SPDX-License-Identifier: Apache-2.0
// The cases of arena_cases.hpp on CUDA, and what happens where its memory is used up.
#include <mixprec/cuda.hpp>

#include "ops/harness.hpp"

MIXPREC_TEST_BACKEND(mixprec::Cuda)

#include "arena_cases.hpp"

namespace mixprec::test {
namespace {

TEST_CASE("running out of device memory says what was asked, used and free, and the process goes on") {
  Session<Cuda> session(1);
  std::size_t const before = session.arena().reserved();
  std::string message;
  try {
    session.arena().allocate(std::size_t{1} << 45);
  } catch (Error const& error) {
    message = error.what();
  }
  CHECK_MESSAGE(message.starts_with("mixprec: cuda: out of device memory: 35184372088832 bytes asked, "), message);
  CHECK(message.find(" used, ") != std::string::npos);
  CHECK(message.find(" free of ") != std::string::npos);
  CHECK(session.arena().reserved() == before);
  auto const x = tensor_of<float>(session, Shape{2, 2}, {1, 2, 3, 4});
  CHECK(to_host(session.stream(), x) == std::vector<float>{1, 2, 3, 4});
}

}  // namespace
}  // namespace mixprec::test
