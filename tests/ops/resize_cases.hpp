// SPDX-License-Identifier: Apache-2.0
// Cases for ops/resize.hpp and ops/resize_argmax.hpp.
#include "harness.hpp"

namespace mixprec::test {
namespace {

struct ResizeSettings {
  Shape<4> input;
  ResizeSize size;
  bool align_corners = false;
};

ResizeSettings const resizes[] = {
    {Shape{2, 3, 4, 5}, {16, 20}},     {Shape{1, 19, 3, 4}, {7, 9}},        {Shape{2, 5, 8, 7}, {3, 2}},
    {Shape{2, 1, 1, 1}, {3, 4}},       {Shape{1, 8, 4, 4}, {4, 4}},         {Shape{1, 3, 5, 4}, {1, 1}},
    {Shape{1, 2, 4, 6}, {9, 3}},       {Shape{2, 3, 4, 5}, {16, 20}, true}, {Shape{1, 16, 3, 4}, {7, 9}, true},
    {Shape{1, 3, 8, 7}, {3, 1}, true}, {Shape{1, 3, 1, 5}, {4, 5}, true},
};

struct ResizeCase {
  static inline ResizeSettings now{Shape{1, 1, 1, 1}, {1, 1}};
  Parameter<4> input{now.input};
  MIXPREC_MODULE(input)
  constexpr auto operator()(auto const& x) const {
    return resize(leaf<Fp16Op>(x, input), now.size, {.align_corners = now.align_corners});
  }
};

/// What follows the resize, by name or in one expression; neither may change a bit.
enum class Reader { nothing, relu, twice, argmax };

template <Reader Of, bool Named>
struct ReaderCase {
  Parameter<4> input{Shape{2, 19, 4, 5}};
  MIXPREC_MODULE(input)
  constexpr auto operator()(auto const& x) const {
    auto const logits = leaf<Fp16Op>(x, input);
    auto const resized = resize(logits, {9, 15});
    if constexpr (Of == Reader::nothing) {
      return resized.value();
    } else if constexpr (Of == Reader::twice) {
      return resized * resized;
    } else if constexpr (Of == Reader::relu) {
      if constexpr (Named) return relu(resized.value());
      if constexpr (!Named) return relu(resize(logits, {9, 15}));
    } else {
      if constexpr (Named) return argmax(resized.value());
      if constexpr (!Named) return argmax(resize(logits, {9, 15}));
    }
  }
};

TEST_CASE("resize agrees with the oracle under every policy, up and down, odd ratios and aligned corners") {
  for (ResizeSettings const& one : resizes) {
    INFO(to_string(one.input) << " to " << one.size.height << " x " << one.size.width << ", align_corners "
                              << one.align_corners);
    ResizeCase::now = one;
    check_op<ResizeCase, TestBackend>({.seed = 1, .terms = 64, .gain = 2});
  }
}

TEST_CASE("resize gives PyTorch's numbers") {
  // torch.nn.functional.interpolate(torch.tensor([[[[0., 1.], [2., 4.]]]]), size, mode="bilinear", align_corners=...)
  struct Known {
    ResizeSize size;
    bool align_corners;
    Values expected;
  };
  Known const known[] = {
      {{4, 4}, false, {0, 0.25, 0.75, 1, 0.5, 0.8125, 1.4375, 1.75, 1.5, 1.9375, 2.8125, 3.25, 2, 2.5, 3.5, 4}},
      {{3, 3}, true, {0, 0.5, 1, 1, 1.75, 2.5, 2, 3, 4}},
      {{1, 1}, false, {1.75}},
      {{1, 1}, true, {0}}};
  for (Known const& one : known) {
    ResizeCase::now = {Shape{1, 1, 2, 2}, one.size, one.align_corners};
    NamedValues const state = {{"input", {0, 1, 2, 4}}};
    CHECK_EQ(run<ResizeCase, Fp32, TestBackend>({}, state, false).output, one.expected);
  }
}

TEST_CASE("PyTorchAmp's resize returns float, Amp's its operand's dtype") {
  ResizeCase::now = resizes[0];
  auto const state = draw_state<ResizeCase>({}, Draw::coarse);
  auto const result_of = [&]<class Policy>() {
    auto const rows = run<ResizeCase, Policy, TestBackend>({}, state).rows;
    REQUIRE(rows.size() == 2);
    CHECK(rows[1].precision.arithmetic == (Policy::template class_of<ops::Resize> == OpClass::full
                                               ? DType::float32
                                               : accumulator_of(rows[1].precision.operand)));
    return rows[1].precision.result;
  };
  CHECK(result_of.template operator()<PyTorchAmp<float16>>() == DType::float32);
  CHECK(result_of.template operator()<Amp<float16>>() == DType::float16);
  CHECK(result_of.template operator()<Amp<bfloat16>>() == DType::bfloat16);
}

TEST_CASE("a resize with two readers runs once and gets the gradients of both") {
  using Twice = ReaderCase<Reader::twice, true>;
  check_op<Twice, TestBackend>({.seed = 3, .terms = 64, .gain = 3});
  Case const settings{.seed = 3};
  auto const rows = run<Twice, Amp<float16>, TestBackend>(settings, draw_state<Twice>(settings, Draw::coarse)).rows;
  CHECK(count_rows(rows, "resize") == 1);
}

TEST_CASE("a reader that does not join a resize sees the bits of its value") {
  Case const settings{.seed = 4};
  auto const state = draw_state<ReaderCase<Reader::relu, true>>(settings, Draw::smooth);
  for_each_policy([&]<class Policy>() {
    Outcome const one = run<ReaderCase<Reader::relu, false>, Policy, TestBackend>(settings, state);
    Outcome const two = run<ReaderCase<Reader::relu, true>, Policy, TestBackend>(settings, state);
    CHECK(count_rows(one.rows, "resize") == 1);
    CHECK(one.output == two.output);
    CHECK(one.gradients == two.gradients);
  });
}

template <class Net, class Policy>
std::vector<std::int32_t> predictions(Case const& settings, NamedValues const& state, std::vector<PlanRow>& rows) {
  Model<Net, Policy, TestBackend> model{settings.seed};
  auto& session = model.session();
  poison(session);
  for (auto const& [name, values] : state) model.assign(name, values);
  session.begin_step();
  auto const input = tensor_of<input_of_t<Policy>>(session, Shape{1}, {0});
  session.start_recording();
  auto const y = model(input);
  rows = session.stop_recording();
  CHECK_FALSE(y.requires_grad());
  return to_host(session.stream(), y.tensor());
}

TEST_CASE("argmax of a resize is one op and equals argmax of the resized values") {
  Case const settings{.seed = 5};
  // Coarse values have ties, of which the first class wins.
  for (Draw const kind : {Draw::smooth, Draw::coarse}) {
    auto const state = draw_state<ReaderCase<Reader::argmax, true>>(settings, kind);
    auto const one = [&]<class Policy>() {
      std::vector<PlanRow> fused_rows, rows;
      auto const fused = predictions<ReaderCase<Reader::argmax, false>, Policy>(settings, state, fused_rows);
      auto const plain = predictions<ReaderCase<Reader::argmax, true>, Policy>(settings, state, rows);
      CHECK(count_rows(fused_rows, "resize+argmax") == 1);
      CHECK(count_rows(fused_rows, "resize") == 0);
      CHECK(count_rows(rows, "argmax") == 1);
      CHECK(fused == plain);
      Values const resized = run<ReaderCase<Reader::nothing, true>, Policy, TestBackend>(settings, state, false).output;
      std::size_t wrong = 0;
      for (std::size_t at = 0; at < plain.size(); ++at) {
        auto const first = resized.begin() + static_cast<std::ptrdiff_t>(at * 19);
        wrong += plain[at] == std::max_element(first, first + 19) - first ? 0 : 1;
      }
      CHECK(wrong == 0);
    };
    one.template operator()<Fp32>();
    one.template operator()<PyTorchAmp<float16>>();
    one.template operator()<Amp<float16>>();
    one.template operator()<Amp<bfloat16>>();
  }
}

TEST_CASE("resize refuses extents below 1 with their value") {
  for (ResizeSize const size : {ResizeSize{0, 4}, ResizeSize{4, -3}}) {
    ResizeCase::now = {Shape{1, 1, 2, 2}, size};
    std::string message;
    try {
      run<ResizeCase, Fp32, TestBackend>({}, {}, false);
    } catch (Error const& error) {
      message = error.what();
    }
    CHECK(message.find(size.height < 1 ? "resized height (at least 1)" : "resized width (at least 1)") !=
          std::string::npos);
    CHECK(message.find(size.height < 1 ? "received 0" : "received -3") != std::string::npos);
  }
}

}  // namespace
}  // namespace mixprec::test
