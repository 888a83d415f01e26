// SPDX-License-Identifier: Apache-2.0
// The caching allocator: what it reuses, what it counts, what it refuses.
#pragma once

#include <cstdint>

#include "ops/harness.hpp"

namespace mixprec::test {
namespace {

TEST_CASE("an arena reuses what was released, splits what is too large, and joins neighbours again") {
  TestBackend::Stream stream;
  Arena<TestBackend> arena(stream);
  std::size_t const unit = arena_granularity;
  void* const first = arena.allocate(3 * unit - 1);
  void* const second = arena.allocate(1);
  void* const third = arena.allocate(0);
  CHECK(static_cast<char*>(second) - static_cast<char*>(first) == static_cast<std::ptrdiff_t>(3 * unit));
  CHECK(static_cast<char*>(third) - static_cast<char*>(second) == static_cast<std::ptrdiff_t>(unit));
  CHECK(reinterpret_cast<std::uintptr_t>(first) % unit == 0);
  CHECK(arena.live() == 5 * unit);
  CHECK(arena.system_allocations() == 1);

  arena.release(first);
  CHECK(arena.live() == 2 * unit);
  CHECK(arena.high_water() == 5 * unit);
  CHECK(arena.allocate(unit) == first);  // the smallest piece that is large enough, and the first part of it
  CHECK(arena.allocate(2 * unit) == static_cast<char*>(first) + unit);
  // All pieces become one again, whatever the order.
  arena.release(second), arena.release(first), arena.release(third);
  arena.release(static_cast<char*>(first) + unit);
  CHECK(arena.live() == 0);
  CHECK(arena.allocate(arena.reserved()) == first);
  CHECK(arena.system_allocations() == 1);
  CHECK(arena.high_water() == arena.reserved());

  void* const more = arena.allocate(unit);
  CHECK(arena.system_allocations() == 2);
  arena.release(more);
  arena.reset_high_water();
  CHECK(arena.high_water() == arena.live());
}

TEST_CASE("an arena refuses to release what is not its own, or twice") {
  TestBackend::Stream stream;
  Arena<TestBackend> arena(stream);
  void* const memory = arena.allocate(1);
  char elsewhere = 0;
  CHECK_THROWS_WITH_AS(arena.release(&elsewhere), "mixprec: arena: release of memory that is not allocated here.",
                       Error);
  CHECK_THROWS_AS(arena.release(static_cast<char*>(memory) + 16), Error);
  arena.release(memory);
  CHECK_THROWS_AS(arena.release(memory), Error);
  CHECK(arena.live() == 0);
}

}  // namespace
}  // namespace mixprec::test
