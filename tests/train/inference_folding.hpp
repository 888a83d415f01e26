// SPDX-License-Identifier: Apache-2.0
// What an inference object folds and what it gives, against the model's own evaluation and against double.
#pragma once

#include "ops/harness.hpp"

namespace mixprec::test {
namespace {

using Names = std::vector<std::string>;
using NoBias = nn::Conv2dOptions;

/// The model's own evaluation: batch norm on running statistics, nothing folded.
template <class M, class T, int Rank>
Values evaluated(M& model, Shape<Rank> shape, Values const& input, std::vector<PlanRow>* rows = nullptr) {
  NoGrad const no_grad(model);
  model.set_training(false);
  auto& session = model.session();
  auto const x = tensor_of<T>(session, shape, input);
  session.start_recording();
  Values const output = values_of(session, model(x).tensor());
  if (rows != nullptr) *rows = session.stop_recording();
  model.set_training(true);
  return output;
}

template <class T, class I, int Rank>
Values inferred(I& inference, Shape<Rank> shape, Values const& input) {
  poison(inference.session());
  return values_of(inference.session(), inference(tensor_of<T>(inference.session(), shape, input)));
}

template <class Case, class Policy>
void check_folding() {
  using Net = typename Case::Net;
  Shape const shape{2, 3, 6, 6};
  std::mt19937 generator(7);
  Values const input = draw(generator, static_cast<std::size_t>(shape.size()), Draw::coarse);
  test::Case const settings{.seed = 5, .terms = 8 * 9, .gain = 4, .scale = 0.25};
  NamedValues const state = draw_state<Net>(settings, Draw::coarse);
  Model<Net, Fp64, Cpu> oracle;
  assign_state(oracle, state);
  Values const wanted = evaluated<Model<Net, Fp64, Cpu>, double>(oracle, shape, input);
  REQUIRE(largest(wanted) > 0.1);

  Model<Net, Policy, TestBackend> model;
  assign_state(model, state);
  std::vector<PlanRow> rows;
  Values const unfolded = evaluated<Model<Net, Policy, TestBackend>, float>(model, shape, input, &rows);
  auto inference = model.eval();
  inference.session().start_recording();
  Values const got = inferred<float>(inference, shape, input);
  std::vector<PlanRow> const folded_rows = inference.session().stop_recording();
  CHECK(inference.folded_norms() == Case::folded());
  CHECK(folded_rows.size() <= rows.size());
  for (PlanRow const& row : folded_rows) CHECK(row.kept_bytes == 0);
  CHECK_EQ(difference("folded", got, wanted, tolerance_of(folded_rows, settings)), "");

  auto plain = model.eval({.fold = false});
  CHECK_EQ(difference("unfolded", inferred<float>(plain, shape, input), unfolded, tolerance_of(rows, settings)), "");
  CHECK(plain.folded_norms().empty());
}

template <class Case>
void check_folding_under_policies() {
  auto const one = [&]<class Policy>() {
    INFO("policy " << std::string(Policy::name));
    check_folding<Case, Policy>();
  };
  one.template operator()<Fp32>();
  one.template operator()<Amp<float16>>();
  one.template operator()<Amp<bfloat16>>();
  one.template operator()<ApexO2>();
  one.template operator()<ApexO3>();
}

}  // namespace
}  // namespace mixprec::test
