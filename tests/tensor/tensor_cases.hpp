// SPDX-License-Identifier: Apache-2.0
// Cases for tensor/tensor.hpp: who owns the memory after a copy, a view and a move.
#pragma once

#include "ops/harness.hpp"

namespace mixprec::test {
namespace {

template <class T, int Rank>
void check_empty(Tensor<TestBackend, T, Rank> const& tensor) {
  CHECK_FALSE(static_cast<bool>(tensor));
  CHECK(tensor.data() == nullptr);
  CHECK_FALSE(static_cast<bool>(tensor.storage()));
  CHECK(tensor.size() == 0);
  CHECK(tensor.bytes() == 0);
}

TEST_CASE("a tensor that was moved from is empty, and its memory goes with the new owner") {
  Session<TestBackend> session(1);
  std::size_t const before = session.arena().live();
  {
    auto first = tensor_of<float>(session, Shape{2, 3}, {1, 2, 3, 4, 5, 6});
    void const* const memory = first.data();
    auto second = std::move(first);
    check_empty(first);  // what a move leaves is part of its contract
    CHECK(second.data() == memory);
    CHECK(second.shape() == Shape{2, 3});

    auto target = tensor_of<float>(session, Shape{1, 5}, {9, 9, 9, 9, 9});
    std::size_t const both = session.arena().live();
    target = std::move(second);
    check_empty(second);
    CHECK(target.data() == memory);
    CHECK(session.arena().live() < both);  // what the target held is free
    CHECK(values_of(session, target) == Values{1, 2, 3, 4, 5, 6});

    auto& same = target;
    target = std::move(same);
    CHECK(target.data() == memory);
    CHECK(target.shape() == Shape{2, 3});
  }
  CHECK(session.arena().live() == before);
}

TEST_CASE("copies and views of a tensor share its memory, and outlive it") {
  Session<TestBackend> session(1);
  auto first = tensor_of<float>(session, Shape{2, 3}, {1, 2, 3, 4, 5, 6});
  auto const copy = first;
  auto const view = first.view(Shape{6});
  CHECK(copy.data() == first.data());
  CHECK(view.data() == first.data());
  first = {};
  check_empty(first);
  CHECK(values_of(session, copy) == Values{1, 2, 3, 4, 5, 6});
  CHECK(values_of(session, view) == Values{1, 2, 3, 4, 5, 6});
}

}  // namespace
}  // namespace mixprec::test
