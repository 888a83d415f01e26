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

/// A module that MIXPREC_MODULE does not list.
struct ForgetfulBlock {
  nn::Linear<4, 4> first;
  nn::Linear<4, 3> second;
  MIXPREC_MODULE(first)
  constexpr auto operator()(auto const& x) const { return second(first(x)); }
};
struct ForgetfulNet {
  ForgetfulBlock block;
  MIXPREC_MODULE(block)
  constexpr auto operator()(auto const& x) const { return block(x); }
};
/// The same of the first layer, and of a batch norm.
struct ForgetfulOfAll {
  nn::Linear<4, 3> fc;
  MIXPREC_MODULE()
  constexpr auto operator()(auto const& x) const { return fc(x); }
};
struct ForgetfulOfNorm {
  nn::Linear<4, 3> fc;
  nn::BatchNorm1d<3> bn;
  MIXPREC_MODULE(fc)
  constexpr auto operator()(auto const& x) const { return relu(bn(fc(x))); }
};
/// A function inside a module.
struct AddBlock {
  nn::Linear<4, 4> fc;
  nn::Linear<4, 6> wide;
  MIXPREC_MODULE(fc, wide)
  constexpr auto operator()(auto const& x) const { return fc(x) + wide(x); }
};
struct NestedAddNet {
  AddBlock block;
  MIXPREC_MODULE(block)
  constexpr auto operator()(auto const& x) const { return block(x); }
};

/// One layer read by two ops, the second of them in float.
struct TwoDtypesNet {
  nn::Linear<4, 4> a;
  MIXPREC_MODULE(a)
  constexpr auto operator()(auto const& x) const {
    auto low = a(x);
    auto const wide = auto_fp16(a(force_fp32(x)));
    return std::move(low) + wide;
  }
};
/// The same function with two layers.
struct TwoLayersNet {
  nn::Linear<4, 4> a, b;
  MIXPREC_MODULE(a, b)
  constexpr auto operator()(auto const& x) const {
    auto low = a(x);
    auto const wide = auto_fp16(b(force_fp32(x)));
    return std::move(low) + wide;
  }
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
    CHECK_MESSAGE(message == "mixprec: backward: the loss depends on no parameter. Check frozen modules and NoGrad.",
                  message);
  }
  CHECK(model.session().arena().live() == before);
  CHECK(model.session().grad_enabled());
}

TEST_CASE(
    "a second gradient in one step is refused under every policy, and begin_step makes the session usable again") {
  for_each_policy([&]<class Policy>() {
    TestModel<Policy> model{1};
    auto const input = image_for(model);
    model.session().begin_step();
    forward_backward(model, input);
    Values const once = model.gradient("fc.weight");
    std::string const message = message_of([&] { forward_backward(model, input); });
    CHECK_MESSAGE(
        message.find(": a second gradient in one step, but the model's gradients cannot add up. End the step first "
                     "(Trainer::step or zero_grad; without a Trainer model.session().begin_step()), or build the "
                     "model with .accumulate_gradients = true.") != std::string::npos,
        message);
    CHECK(model.gradient("fc.weight") == once);
    model.session().begin_step();
    forward_backward(model, input);
    CHECK(model.gradient("fc.weight") == once);
  });
}

TEST_CASE("two calls of a model in one loss are refused under every policy where gradients cannot add up") {
  for_each_policy([&]<class Policy>() {
    for (bool const accumulate : {false, true}) {
      TestModel<Policy> model{ModelOptions{.seed = 1, .accumulate_gradients = accumulate}};
      auto const input = image_for(model);
      model.session().begin_step();
      auto const first = model(input), second = model(input);
      std::string const message = message_of([&] { model.session().backward(mean(first * second)); });
      CHECK_MESSAGE((message.find("cannot add up") == std::string::npos) == accumulate, message);
    }
  });
}

TEST_CASE("a loss or a value of an older tape is refused, however long the new tape is") {
  TestModel<Fp32> model{1};
  auto const input = image_for(model);
  auto& session = model.session();
  auto const loss_of = [](auto const& y) { return mean(y * y); };
  std::string const too_old =
      "mixprec: backward: the loss is older than the last backward or begin_step, which emptied the tape. Run the "
      "forward pass again.";

  session.begin_step();
  auto const old_y = model(input);
  auto const old_loss = loss_of(old_y);
  session.begin_step();
  auto const loss = loss_of(model(input));
  CHECK(message_of([&] { session.backward(old_loss); }) == too_old);
  // The refusal has changed nothing.
  session.backward(loss);
  CHECK(largest(model.gradient("fc.weight")) > 0);

  session.begin_step();
  auto const again = loss_of(model(input));
  CHECK(message_of([&] { session.backward(loss); }) == too_old);
  session.clear_tape();
  auto const last = loss_of(model(input));
  CHECK(message_of([&] { session.backward(again); }) == too_old);
  session.backward(last);

  session.begin_step();
  auto const y = model(input);
  CHECK(message_of([&] {
          session.backward(loss_of(y + old_y));
        }).starts_with("mixprec: backward: the loss depends on a value that is older than the last backward"));
  session.begin_step();
  auto const new_y = model(input);
  session.backward(loss_of(new_y + old_y.detach()));
  CHECK(largest(model.gradient("fc.weight")) > 0);
}

TEST_CASE("a module that MIXPREC_MODULE does not list is refused with a sentence") {
  auto const refusal = []<class Forgetful>(Forgetful) {
    Model<Forgetful, Amp<float16>, TestBackend> model{1};
    auto const x = model.template tensor<float>(Shape{2, 4});
    return message_of([&] { (void)model(x); });
  };
  std::string const rest =
      " is no part of the model: it, or the module that holds it, is missing from MIXPREC_MODULE(...). List every "
      "member there.";
  CHECK_EQ(refusal(ForgetfulNet{}),
           "mixprec: linear, called on the result of block.first: a parameter of shape (3, 4)" + rest);
  CHECK_EQ(refusal(ForgetfulOfAll{}), "mixprec: linear, called in the model: a parameter of shape (3, 4)" + rest);
  CHECK_EQ(refusal(ForgetfulOfNorm{}),
           "mixprec: batch_norm+relu, called on the result of fc: a parameter of shape (3)" + rest);
}

TEST_CASE("a parameter read in two dtypes has one master, and its gradient is the sum of both") {
  for_each_policy([&]<class Policy>() {
    auto const pass = [](auto& model) {
      using T = input_of_t<Policy>;
      std::mt19937 generator(4);
      auto const x = tensor_of<T>(model.session(), Shape{2, 4}, draw(generator, 8, Draw::coarse));
      for (std::string const& name : model.names()) {
        std::mt19937 same(name.ends_with("weight") ? 5 : 6);
        model.assign(name, draw(same, name.ends_with("weight") ? 16 : 4, Draw::coarse));
      }
      model.session().begin_step();
      auto const y = model(x);
      Values const output = values_of(model.session(), y.tensor());
      model.session().backward(mean(y * y));
      return output;
    };
    Model<TwoDtypesNet, Policy, TestBackend> one{1};
    Model<TwoLayersNet, Policy, TestBackend> two{1};
    // All that is rounded is rounded in both; the inputs are exact.
    CHECK(pass(one) == pass(two));
    for (std::string const name : {"weight", "bias"}) {
      Values sum = two.gradient("a." + name);
      Values const other = two.gradient("b." + name);
      for (std::size_t index = 0; index < sum.size(); ++index) sum[index] += other[index];
      CHECK(largest(sum) > 0);
      CHECK_EQ(difference(name, one.gradient("a." + name), sum, 1e-2), "");
    }
  });
}

TEST_CASE("with accumulate_gradients the gradients of two passes add up") {
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
  TestModel<Fp32> full{ModelOptions{.seed = 1, .accumulate_gradients = true}};
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
                    "mixprec: add: channels of the two operands do not fit: expected 4, received 6. Change "
                    "the layer or the shape of its input.",
                message);
  Model<NestedAddNet, Fp32, TestBackend> nested{1};
  std::string const inside = message_of([&] { (void)nested(nested.template tensor<float>(Shape{2, 4})); });
  CHECK_MESSAGE(inside.starts_with("mixprec: block.add: channels of the two operands do not fit"), inside);
}

TEST_CASE("a model that is a layer itself is named by its op") {
  Model<nn::Linear<4, 3>, Fp32, TestBackend> model{1};
  std::string const message = message_of([&] { (void)model(model.template tensor<float>(Shape{2, 5})); });
  CHECK_MESSAGE(message.starts_with("mixprec: linear: input features do not fit: expected 4, received 5."), message);
}

}  // namespace
}  // namespace mixprec::test
