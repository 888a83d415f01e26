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

int count(std::vector<PlanRow> const& rows, std::string const& op) {
  int found = 0;
  for (PlanRow const& row : rows) found += row.op == op ? 1 : 0;
  return found;
}

TEST_CASE("batch norm, add and relu written in one call give the bits of the three ops") {
  Case const settings{.seed = 1};
  auto const state = draw_state<JoinCase<true>>(settings, Draw::smooth);
  for_each_policy([&]<class Policy>() {
    Outcome const fused = run<JoinCase<true>, Policy, TestBackend>(settings, state);
    Outcome const single = run<JoinCase<false>, Policy, TestBackend>(settings, state);
    CHECK(count(single.rows, "relu") == 1);
    CHECK(count(single.rows, "batch_norm") == 1);
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
  CHECK(count(rows, "batch_norm+add+relu") == 1);
  CHECK(rows.size() == 3);
}

TEST_CASE("a batch norm with two readers runs once and gets the gradients of both") {
  check_op<TwoReadersCase, TestBackend>({.seed = 3, .terms = 80, .gain = 3});
  Case const settings{.seed = 3};
  auto const rows =
      run<TwoReadersCase, Amp<float16>, TestBackend>(settings, draw_state<TwoReadersCase>(settings, Draw::coarse)).rows;
  CHECK(count(rows, "batch_norm") == 1);
  CHECK(count(rows, "batch_norm+relu") == 0);
}

}  // namespace
}  // namespace mixprec::test
