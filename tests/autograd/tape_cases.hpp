// SPDX-License-Identifier: Apache-2.0
// The tape's memory and its rules: what is freed, what is refused, and what a message says.
#include "ops/harness.hpp"

namespace mixprec::test {
namespace {

struct Block {
  nn::Conv2d<2, 4, 3, nn::Conv2dOptions{.padding = 1}> conv;
  nn::BatchNorm2d<4> bn;
  nn::Conv2d<2, 4, 1> shortcut;
  MIXPREC_MODULE(conv, bn, shortcut)
  // Named, because C++ leaves open which operand of + runs first.
  constexpr auto operator()(auto const& x) const {
    auto main = bn(conv(x));
    auto const side = shortcut(x);
    return relu(std::move(main) + side);
  }
};

struct Net {
  Block block;
  nn::Linear<64, 3> fc;
  MIXPREC_MODULE(block, fc)
  constexpr auto operator()(auto const& x) const { return fc(flatten(block(x))); }
};

/// Adds a value to a module's result whose extents follow from the module's settings only at run time.
struct AddNet {
  nn::Linear<4, 4> fc;
  nn::Linear<4, 6> wide;
  MIXPREC_MODULE(fc, wide)
  constexpr auto operator()(auto const& x) const { return fc(x) + wide(x); }
};

template <class Policy>
using TestModel = Model<Net, Policy, TestBackend>;

template <class M>
auto image_for(M& model, int batch = 2) {
  using T = input_of_t<typename M::policy>;
  std::mt19937 generator(3);
  return tensor_of<T>(model.session(), Shape{batch, 2, 4, 4},
                      draw(generator, static_cast<std::size_t>(batch) * 32, Draw::coarse));
}

template <class M, class Input>
void forward_backward(M& model, Input const& input) {
  auto const y = model(input);
  model.session().backward(mean(y * y));
}

template <class Action>
std::string message_of(Action const& action) {
  try {
    action();
  } catch (Error const& error) {
    return error.what();
  }
  return "no error";
}

TEST_CASE("after backward the arena holds what it held before the step") {
  for_each_policy([&]<class Policy>() {
    TestModel<Policy> model{1};
    auto const input = image_for(model);
    model.session().begin_step();
    forward_backward(model, input);
    std::size_t const before = model.session().arena().live();
    for (int step = 0; step < 3; ++step) {
      model.session().begin_step();
      forward_backward(model, input);
      CHECK(model.session().arena().live() == before);
    }
    std::size_t const system = model.session().arena().system_allocations();
    model.session().begin_step();
    forward_backward(model, input);
    CHECK(model.session().arena().system_allocations() == system);
  });
}

TEST_CASE("a forward pass whose gradients nobody asked for is forgotten by the next begin_step") {
  TestModel<Amp<float16>> model{1};
  auto const input = image_for(model);
  model.session().begin_step();
  forward_backward(model, input);
  std::size_t const before = model.session().arena().live();
  (void)model(input);
  CHECK(model.session().arena().live() > before);
  model.session().begin_step();
  CHECK(model.session().arena().live() == before);
}

TEST_CASE("under NoGrad nothing is kept, nothing is recorded for backward, and the numbers are the same") {
  TestModel<Amp<float16>> model{1};
  auto const input = image_for(model);
  model.session().begin_step();
  Values const expected = values_of(model.session(), model(input).tensor());
  model.session().begin_step();
  std::size_t const before = model.session().arena().live();
  {
    NoGrad const guard{model};
    model.session().start_recording();
    auto const y = model(input);
    CHECK_FALSE(y.requires_grad());
    CHECK(values_of(model.session(), y.tensor()) == expected);
    for (PlanRow const& row : model.session().stop_recording()) CHECK(row.kept_bytes == 0);
    // The result alone is alive: one block of it.
    CHECK(model.session().arena().live() == before + arena_rounded(6 * size_of(DType::float16)));
    std::string const message = message_of([&] { model.session().backward(mean(y)); });
    CHECK_MESSAGE(message == "mixprec: backward: the loss depends on no parameter. Check frozen modules and no_grad.",
                  message);
  }
  CHECK(model.session().arena().live() == before);
  CHECK(model.session().grad_enabled());
}

TEST_CASE(
    "a second half gradient in one step is refused with a sentence, and begin_step makes the session usable again") {
  TestModel<Amp<float16>> model{1};
  auto const input = image_for(model);
  model.session().begin_step();
  forward_backward(model, input);
  Values const once = model.gradient("fc.weight");
  std::string const message = message_of([&] { forward_backward(model, input); });
  CHECK_MESSAGE(message.find("a second gradient in one step would be added in float16. Call begin_step() before each "
                             "step, or build the model with accumulate_gradients.") != std::string::npos,
                message);
  model.session().begin_step();
  forward_backward(model, input);
  CHECK(model.gradient("fc.weight") == once);
}

TEST_CASE("with accumulate_gradients, and in float, the gradients of two passes add up") {
  auto const check = [](auto& model, double relative) {
    auto const input = image_for(model);
    model.session().begin_step();
    forward_backward(model, input);
    Values const once = model.gradient("fc.weight");
    forward_backward(model, input);
    Values twice;
    for (double const value : once) twice.push_back(2 * value);
    CHECK_EQ(difference("fc.weight", model.gradient("fc.weight"), twice, relative), "");
  };
  TestModel<Amp<float16>> half{ModelOptions{.seed = 1, .accumulate_gradients = true}};
  check(half, 1e-3);
  TestModel<Fp32> full{1};
  check(full, 1e-6);
}

TEST_CASE("extents that do not fit are refused before anything runs, with the path and both values") {
  TestModel<Amp<float16>> model{1};
  auto const wrong = model.template tensor<float>(Shape{2, 2, 5, 4});
  std::string const first = message_of([&] { (void)model(wrong); });
  CHECK_MESSAGE(first ==
                    "mixprec: fc: linear: input features do not fit: expected 64, received 80. Change the layer or "
                    "the shape of its input.",
                first);
  CHECK_FALSE(model.session().parameters().laid_out());
  model.session().begin_step();
  forward_backward(model, image_for(model));
  std::string const later = message_of([&] { (void)model(wrong); });
  CHECK(later == first);

  auto const channels = model.template tensor<float>(Shape{2, 3, 4, 4});
  std::string const nested = message_of([&] { (void)model(channels); });
  CHECK_MESSAGE(nested ==
                    "mixprec: block.conv: conv2d: input channels do not fit: expected 2, received 3. Change the "
                    "layer or the shape of its input.",
                nested);
}

TEST_CASE("a function called between modules is named by its module and its own name") {
  Model<AddNet, Fp32, TestBackend> model{1};
  auto const x = model.template tensor<float>(Shape{2, 4});
  std::string const message = message_of([&] { (void)model(x); });
  CHECK_MESSAGE(message ==
                    "mixprec: add: add: channels of the two operands do not fit: expected 4, received 6. Change "
                    "the layer or the shape of its input.",
                message);
}

}  // namespace
}  // namespace mixprec::test
