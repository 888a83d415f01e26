// SPDX-License-Identifier: Apache-2.0
// The compiler's plan against what runs: rows one by one, and the peak of a training step against the arenas'
// high-water marks. One model is one header; its rows and its peak are files of their own, for the sake of compile
// time.
#pragma once

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "ops/harness.hpp"

namespace mixprec::test {

inline std::string text_of(PlanRow const& row, std::string const& path) {
  std::string text = path + ": " + row.op + " (";
  for (int axis = 0; axis < row.rank; ++axis) text += (axis > 0 ? ", " : "") + std::to_string(row.extents[axis]);
  Precision const& p = row.precision;
  text += std::string(") operand ") + name_of(p.operand) + ", arithmetic " + name_of(p.arithmetic) + ", accumulator " +
          name_of(p.accumulator) + ", result " + name_of(p.result) + ", gradient " + name_of(p.gradient);
  return text + ", folded " + std::to_string(row.folded_casts) + (row.materialized_cast ? ", cast" : "") + ", flops " +
         std::to_string(row.flops) + ", kept " + std::to_string(row.kept_bytes);
}

struct Loss {
  auto operator()(auto& net, auto const& image, auto const& label) const { return cross_entropy(net(image), label); }
};

/// `Rank`-dimensional inputs and labels below `classes`, the same for every policy.
template <class T, int Rank>
struct Batch {
  std::vector<T> image;
  std::vector<std::int32_t> label;
  Shape<Rank> shape;

  Batch(Shape<Rank> extents, int classes, unsigned seed = 1) : shape(extents) {
    std::mt19937 generator(seed);
    for (double const value : draw(generator, static_cast<std::size_t>(shape.size()), Draw::coarse))
      image.push_back(convert<T>(value));
    for (std::int64_t row = 0; row < shape[0]; ++row) label.push_back(static_cast<std::int32_t>(row % classes));
  }
  HostTensor<T, Rank> host_image() const { return {image.data(), shape}; }
  HostTensor<std::int32_t, 1> host_label() const { return {label.data(), Shape<1>{{shape[0]}}}; }
};

/// Every row of a recorded forward pass and loss equals the plan's row, and so do the paths.
template <class Net, class Policy, class B, Shape Input>
void check_rows(int classes) {
  constexpr auto const& expected = plan<Net, Policy, Input>;
  Model<Net, Policy, B> model{1};
  auto& session = model.session();
  Batch<input_of_t<Policy>, Input.rank> const batch(Input, classes);
  for (int pass = 0; pass < 2; ++pass) {
    // Fresh in each pass, because a tensor counts as kept once in its life.
    auto const image = model.template tensor<input_of_t<Policy>>(Input);
    auto const label = model.template tensor<std::int32_t>(Shape<1>{{Input[0]}});
    copy_from_host(model.stream(), image, batch.image.data(), batch.image.size());
    copy_from_host(model.stream(), label, batch.label.data(), batch.label.size());
    session.begin_step();
    session.start_recording();
    { auto const loss = Loss{}(model, image, label); }
    std::vector<PlanRow> const rows = session.stop_recording();
    CHECK_EQ(rows.size(), static_cast<std::size_t>(expected.rows()));
    for (std::size_t at = 0; at < std::min(rows.size(), static_cast<std::size_t>(expected.rows())); ++at) {
      std::string const ran = text_of(rows[at], session.path_of(rows[at].place, rows[at].op));
      std::string const planned = text_of(expected.row[at], std::string(expected.path_of(expected.row[at]).view()));
      CHECK_MESSAGE(same_row(rows[at], expected.row[at]), "row " << at << " ran " << ran << "; planned " << planned);
      CHECK_EQ(ran, planned);
    }
  }
}

/// The peak of later steps of `Net`, each of `passes` passes with `loss` on a host batch, is the plan's within one per
/// cent. Beyond the plan there are the step's own blocks: the scaler's and the step's state and the last loss, and for
/// each trained segment the optimizer's runs; each is one granule of the arena. Between two steps nothing else is left.
template <class Net, class Policy, class B, class LossFunction, class... Input>
void check_peak_of_passes(int passes, std::size_t planned_bytes, LossFunction const& loss, Input const&... input) {
  Model<Net, Policy, B> model{ModelOptions{.seed = 1, .accumulate_gradients = passes > 1}};
  Sgd opt{model, {.momentum = 0.9}};
  Scaler<StaticScale<128>> const scaler;
  Step step{model, opt, scaler, Constant{.lr = 0.01}, loss, {.accumulate = passes, .graph = false}};
  for (int pass = 0; pass < 2 * passes; ++pass) step(input...);
  model.session().arena().reset_high_water();
  step.arena().reset_high_water();
  for (int pass = 0; pass < passes; ++pass) step(input...);
  std::size_t trained = 0;
  for (auto const& segment : model.session().parameters().segments()) trained += segment.trained ? 1 : 0;
  std::size_t const own = (3 + trained) * arena_granularity;
  auto const measured = static_cast<double>(model.session().arena().high_water() + step.arena().high_water() - own);
  auto const planned = static_cast<double>(planned_bytes);
  CHECK_MESSAGE(std::abs(measured - planned) <= 0.01 * planned,
                "measured " << measured << " bytes, planned " << planned);
  CHECK(model.session().arena().high_water() == model.session().arena().live());
}
template <class Net, class Policy, class B, class LossFunction, class... Input>
void check_peak_of(std::size_t planned_bytes, LossFunction const& loss, Input const&... input) {
  check_peak_of_passes<Net, Policy, B>(1, planned_bytes, loss, input...);
}
template <class Net, class Policy, class B, Shape Input>
void check_peak(int classes) {
  Batch<input_of_t<Policy>, Input.rank> const batch(Input, classes);
  check_peak_of<Net, Policy, B>(plan<Net, Policy, Input>.peak_bytes(), Loss{}, batch.host_image(), batch.host_label());
}
template <class Net, class Policy, class B, Shape Input>
void check_peak_of_two_passes(int classes) {
  Batch<input_of_t<Policy>, Input.rank> const batch(Input, classes);
  constexpr auto const& expected = plan<Net, Policy, Input, PlanOptions{.accumulate_gradients = true}>;
  check_peak_of_passes<Net, Policy, B>(2, expected.peak_bytes(), Loss{}, batch.host_image(), batch.host_label());
}

}  // namespace mixprec::test

/// The tests of one model on `input` with labels below `classes`.
#define MIXPREC_PLAN_ROWS_TEST(Net, input, classes)                                                 \
  TEST_CASE(#Net ": a recorded run has the plan's rows under every policy") {                       \
    for_each_policy([&]<class Policy>() { check_rows<Net, Policy, TestBackend, input>(classes); }); \
  }
#define MIXPREC_PLAN_PEAK_TEST(Net, input, classes)                                                   \
  TEST_CASE(#Net ": a training step's peak is the plan's within one per cent") {                      \
    for_some_policies([&]<class Policy>() { check_peak<Net, Policy, TestBackend, input>(classes); }); \
  }
#define MIXPREC_PLAN_TWO_PASSES_TEST(Net, input, classes)                                                           \
  TEST_CASE(#Net ": the peak of a step of two passes is the plan's within one per cent") {                          \
    for_some_policies([&]<class Policy>() { check_peak_of_two_passes<Net, Policy, TestBackend, input>(classes); }); \
  }
