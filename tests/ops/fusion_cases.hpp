// SPDX-License-Identifier: Apache-2.0
// Cases for ops/pending_norm.hpp: what joins a batch norm changes no bit, and a batch norm with two readers runs once.
#include "harness.hpp"

namespace mixprec::test {
namespace {

/// relu(bn(x) + r) in one call, or step by step through names, which do not fuse.
template <bool Fuse>
struct JoinCase {
  Parameter<4> input{Shape{4, 3, 5, 4}}, residual{Shape{4, 3, 5, 4}};
  nn::BatchNorm2d<3> bn;
  MIXPREC_MODULE(input, residual, bn)
  constexpr auto operator()(auto const& x) const {
    auto const data = leaf<Fp16Op>(x, input);
    auto const added = leaf<Fp16Op>(x, residual);
    if constexpr (Fuse) {
      return relu(bn(data) + added);
    } else {
      auto const normalised = bn(data);
      auto const sum = normalised + added;
      return relu(sum);
    }
  }
};

struct TwoReadersCase {
  Parameter<4> input{Shape{4, 3, 5, 4}};
  nn::BatchNorm2d<3> bn;
  MIXPREC_MODULE(input, bn)
  constexpr auto operator()(auto const& x) const {
    auto const normalised = bn(leaf<Fp16Op>(x, input));
    return relu(normalised) + normalised;
  }
};

/// A batch norm that relu has read before it is moved into a sum; without `Moves`, the same through names.
template <bool Moves>
struct MovedAfterReadCase {
  Parameter<4> input{Shape{4, 3, 5, 4}}, residual{Shape{4, 3, 5, 4}};
  nn::BatchNorm2d<3> bn;
  MIXPREC_MODULE(input, residual, bn)
  constexpr auto operator()(auto const& x) const {
    auto const added = leaf<Fp16Op>(x, residual);
    auto normalised = bn(leaf<Fp16Op>(x, input));
    auto const rectified = relu(normalised);
    if constexpr (Moves) {
      auto const left = relu(std::move(normalised) + added);
      return left + rectified;
    } else {
      auto const sum = normalised + added;
      auto const left = relu(sum);
      return left + rectified;
    }
  }
};
struct MovedToTheRightCase {
  Parameter<4> input{Shape{4, 3, 5, 4}}, residual{Shape{4, 3, 5, 4}};
  nn::BatchNorm2d<3> bn;
  MIXPREC_MODULE(input, residual, bn)
  constexpr auto operator()(auto const& x) const {
    auto const added = leaf<Fp16Op>(x, residual);
    auto normalised = bn(leaf<Fp16Op>(x, input));
    auto const rectified = relu(normalised);
    auto const sum = added + std::move(normalised);
    return sum + rectified;
  }
};

TEST_CASE("batch norm, add and relu written in one call give the bits of the three ops") {
  Case const settings{.seed = 1};
  auto const state = draw_state<JoinCase<true>>(settings, Draw::smooth);
  for_each_policy([&]<class Policy>() {
    Outcome const fused = run<JoinCase<true>, Policy, TestBackend>(settings, state);
    Outcome const single = run<JoinCase<false>, Policy, TestBackend>(settings, state);
    CHECK(count_rows(single.rows, "relu") == 1);
    CHECK(count_rows(single.rows, "batch_norm") == 1);
    CHECK(fused.rows.size() <= single.rows.size());
    CHECK(fused.output == single.output);
    CHECK(fused.gradients == single.gradients);
    CHECK(fused.buffers == single.buffers);
  });
}

TEST_CASE("under Amp a residual block's batch norm, add and relu are one op") {
  Case const settings{.seed = 2};
  auto const state = draw_state<JoinCase<true>>(settings, Draw::coarse);
  auto const rows = run<JoinCase<true>, Amp<float16>, TestBackend>(settings, state).rows;
  CHECK(count_rows(rows, "batch_norm+add+relu") == 1);
  CHECK(rows.size() == 3);
}

TEST_CASE("a batch norm with two readers runs once and gets the gradients of both") {
  check_op<TwoReadersCase, TestBackend>({.seed = 3, .terms = 80, .gain = 3});
  Case const settings{.seed = 3};
  auto const rows =
      run<TwoReadersCase, Amp<float16>, TestBackend>(settings, draw_state<TwoReadersCase>(settings, Draw::coarse)).rows;
  CHECK(count_rows(rows, "batch_norm") == 1);
  CHECK(count_rows(rows, "batch_norm+relu") == 0);
}

TEST_CASE("a batch norm that was read and then moved into a sum runs once and moves its statistics once") {
  check_op<MovedAfterReadCase<true>, TestBackend>({.seed = 4, .terms = 80, .gain = 3});
  Case const settings{.seed = 4};
  auto const state = draw_state<MovedAfterReadCase<true>>(settings, Draw::smooth);
  for_each_policy([&]<class Policy>() {
    Outcome const moved = run<MovedAfterReadCase<true>, Policy, TestBackend>(settings, state);
    Outcome const named = run<MovedAfterReadCase<false>, Policy, TestBackend>(settings, state);
    CHECK(count_rows(moved.rows, "batch_norm") == 1);
    CHECK(count_rows(moved.rows, "batch_norm+add") == 0);
    CHECK(moved.rows.size() == named.rows.size());
    CHECK(moved.output == named.output);
    CHECK(moved.gradients == named.gradients);
    CHECK(moved.buffers == named.buffers);
  });
  auto const right = run<MovedToTheRightCase, Amp<float16>, TestBackend>(settings, state);
  CHECK(count_rows(right.rows, "batch_norm") == 1);
  CHECK(count_rows(right.rows, "batch_norm+add") == 0);
  CHECK(right.buffers == run<MovedAfterReadCase<false>, Amp<float16>, TestBackend>(settings, state).buffers);
}

}  // namespace
}  // namespace mixprec::test
