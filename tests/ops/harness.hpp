// SPDX-License-Identifier: Apache-2.0
// One test body for every op: a small model runs in double on the CPU as the oracle, then under every policy on the
// backend under test; results, gradients and buffers must agree within the roundings that the recorded rows admit to.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

#include <mixprec/cpu.hpp>
#include <mixprec/mixprec.hpp>

/// Names the backend that the cases included after it run on.
#define MIXPREC_TEST_BACKEND(type) \
  namespace mixprec::test {        \
  namespace {                      \
  using TestBackend = type;        \
  }                                \
  }

namespace mixprec::test {

using Values = std::vector<double>;
using NamedValues = std::vector<std::pair<std::string, Values>>;

/// A parameter as a value with a gradient: what an op's data operand needs in order to be checked. `Class` FollowOp
/// gives the dtype of the model's input; Fp16Op gives the policy's low-precision dtype.
template <class Class>
struct Leaf : OpBase {
  using precision = Class;
  static constexpr char const* name = "leaf";
  static constexpr int channels(int) { return dynamic_channels; }

  template <int Rank>
  constexpr Shaped<Rank> shape(Shape<1>, Shape<Rank> parameter) const {
    return parameter;
  }
  constexpr double flops(auto const&...) const { return 0; }
  constexpr Keeps keeps(unsigned) const { return {}; }
  void forward(auto& session, auto& y, auto&, auto const&, auto const& parameter) const {
    cast(session.stream(), parameter.data(), y.data(), y.size());
  }
  void backward(auto& session, auto const& context, auto& gradients) const {
    auto const& to = std::get<1>(gradients);
    cast(session.stream(), context.gradient.data(), to.data(), to.size());
  }
};
template <class Class, any_value X, int Rank>
constexpr auto leaf(X const& x, Parameter<Rank> const& parameter) {
  return apply(Leaf<Class>{}, x.place(), x, parameter);
}

/// What the inputs of a case are like. Coarse values are multiples of 1/32 that float16 and bfloat16 hold exactly, so
/// that every policy starts from the oracle's numbers; smooth values have no ties, which finite differences need.
enum class Draw { coarse, smooth };

struct Case {
  unsigned seed = 1;
  std::int64_t terms = 1;  // of the longest sum behind one element
  double gain = 1;         // how much the op enlarges relative errors
  bool training = true;
  double scale = 1;  // a power of two that multiplies all parameters
};

/// What one forward and backward pass shows.
struct Outcome {
  Values output;  // memory order
  NamedValues gradients, buffers;
  std::vector<PlanRow> rows;
};

template <class Policy>
using input_of_t = std::conditional_t<Policy::low == DType::float64, double, float>;

/// Leaves NaN in the arena's free memory, so that an element that a kernel forgets to write is seen.
template <class B>
void poison(Session<B>& session) {
  Storage<B> const block(session.arena(), KiB(1024));
  std::vector<unsigned char> const bytes(block.bytes(), 0xff);
  B::copy_from_host(session.stream(), block.data(), bytes.data(), bytes.size());
}

/// A tensor in backend memory with the given values in memory order.
template <class T, class B, int Rank>
Tensor<B, T, Rank> tensor_of(Session<B>& session, Shape<Rank> shape, Values const& values) {
  Tensor<B, T, Rank> const tensor = session.template allocate<T>(shape);
  std::vector<T> converted(values.size());
  for (std::size_t index = 0; index < values.size(); ++index) {
    if constexpr (std::is_integral_v<T>) {
      converted[index] = static_cast<T>(values[index]);
    } else {
      converted[index] = convert<T>(values[index]);
    }
  }
  copy_from_host(session.stream(), tensor, converted.data(), converted.size());
  return tensor;
}
template <class B, class T, int Rank>
Values values_of(Session<B>& session, Tensor<B, T, Rank> const& tensor) {
  Values values;
  for (T const value : to_host(session.stream(), tensor)) values.push_back(convert<double>(value));
  return values;
}

inline Values draw(std::mt19937& generator, std::size_t count, Draw kind, double scale = 1) {
  std::uniform_int_distribution<int> coarse(-63, 63);
  std::normal_distribution<double> smooth;
  Values values(count);
  for (double& value : values) value = scale * (kind == Draw::coarse ? coarse(generator) / 32.0 : smooth(generator));
  return values;
}

/// Values for every parameter and buffer of `Net`; variances are positive.
template <class Net>
NamedValues draw_state(Case const& settings, Draw kind) {
  Model<Net, Fp64, Cpu> model;
  std::mt19937 generator(settings.seed);
  NamedValues state;
  for (ParameterEntry const& entry : model.session().parameters().entries())
    state.emplace_back(entry.name, draw(generator, static_cast<std::size_t>(entry.size()), kind, settings.scale));
  for (auto const& buffer : model.session().buffers()) {
    Values values = draw(generator, static_cast<std::size_t>(buffer.size), kind);
    if (buffer.name.find("var") != std::string::npos)
      for (double& value : values) value = 0.5 + std::abs(value);
    state.emplace_back(buffer.name, std::move(values));
  }
  return state;
}

/// Every parameter and buffer of `model`.
template <class M>
NamedValues state_of(M& model) {
  NamedValues state;
  for (std::string const& name : model.names()) state.emplace_back(name, model.values(name));
  return state;
}
template <class M>
void assign_state(M& model, NamedValues const& state) {
  for (auto const& [name, values] : state) model.assign(name, values);
}

/// How many of the rows are `op`'s.
inline int count_rows(std::vector<PlanRow> const& rows, std::string const& op) {
  return static_cast<int>(std::count_if(rows.begin(), rows.end(), [&](PlanRow const& row) { return row.op == op; }));
}

/// The gradient that arrives at the result: exact in every dtype.
inline Values upstream(std::size_t count) {
  std::mt19937 generator(static_cast<unsigned>(count) + 99);
  return draw(generator, count, Draw::coarse);
}

/// One pass of `Net` under `Policy` on `B`; backward from the sum of result * upstream.
template <class Net, class Policy, class B>
Outcome run(Case const& settings, NamedValues const& state, bool with_backward = true) {
  using T = input_of_t<Policy>;
  Model<Net, Policy, B> model{settings.seed};
  auto& session = model.session();
  poison(session);
  session.set_training(settings.training);
  assign_state(model, state);
  session.begin_step();
  Tensor<B, T, 1> const input = tensor_of<T>(session, Shape{1}, {0});
  Outcome outcome;
  session.start_recording();
  auto const y = model(input);
  outcome.rows = session.stop_recording();
  outcome.output = values_of(session, y.tensor());
  if (with_backward) {
    using Y = std::remove_cvref_t<decltype(y)>;
    Values const g = upstream(outcome.output.size());
    if constexpr (Y::rank == 0) {
      session.backward(y, nullptr, g[0]);
    } else {
      Value<B, T, Y::rank, dynamic_channels, Policy> const weights(session, tensor_of<T>(session, y.shape(), g), {},
                                                                   {});
      session.backward(sum(mul(y, weights)));
    }
    for (ParameterEntry const& entry : session.parameters().entries())
      outcome.gradients.emplace_back(entry.name, model.gradient(entry.name));
  }
  for (auto const& buffer : session.buffers()) outcome.buffers.emplace_back(buffer.name, model.values(buffer.name));
  return outcome;
}

inline double largest(Values const& values) {
  double result = 0;
  for (double const value : values) result = std::max(result, std::abs(value));
  return result;
}

/// Empty where every element is within `relative` times the largest expected magnitude; else what differs. NaN equals
/// NaN only.
inline std::string difference(std::string const& what, Values const& got, Values const& wanted, double relative) {
  if (got.size() != wanted.size())
    return what + ": " + std::to_string(got.size()) + " elements, expected " + std::to_string(wanted.size());
  double const bound = relative * largest(wanted) + std::numeric_limits<double>::min();
  for (std::size_t index = 0; index < got.size(); ++index) {
    bool const same =
        std::isnan(wanted[index]) ? std::isnan(got[index]) : std::abs(got[index] - wanted[index]) <= bound;
    if (!same)
      return what + "[" + std::to_string(index) + "]: " + std::to_string(got[index]) + ", expected " +
             std::to_string(wanted[index]) + " +- " + std::to_string(bound);
  }
  return {};
}
inline std::string difference(NamedValues const& got, NamedValues const& wanted, double relative) {
  if (got.size() != wanted.size()) return "another number of tensors";
  for (std::size_t index = 0; index < got.size(); ++index) {
    auto const text = difference(got[index].first, got[index].second, wanted[index].second, relative);
    if (!text.empty()) return text;
  }
  return {};
}

/// The relative error that the rows' roundings may add up to: one for each result and one for its gradient, and the
/// sums'.
inline double tolerance_of(std::vector<PlanRow> const& rows, Case const& settings) {
  double roundings = 0, sums = 0;
  for (PlanRow const& row : rows) {
    roundings += traits_of(row.precision.result).eps + traits_of(row.precision.gradient).eps;
    sums = std::max(sums, traits_of(row.precision.accumulator).eps);
  }
  return settings.gain * (roundings + sums * (4 + 2 * std::sqrt(static_cast<double>(settings.terms))));
}

template <class Policy, class Body>
void run_under(Body const& body) {
  INFO("policy " << std::string(Policy::name));
  body.template operator()<Policy>();
}

#ifndef MIXPREC_TEST_POLICIES
#define MIXPREC_TEST_POLICIES 7
#endif

/// Calls body.operator()<Policy>() for every mixed policy and for float, or for the first MIXPREC_TEST_POLICIES of
/// them: where code is compiled and not run, the others cost time alone.
template <class Body>
void for_each_policy(Body const& body) {
  run_under<Amp<float16>>(body);
#if MIXPREC_TEST_POLICIES > 1
  run_under<Fp32>(body);
#endif
#if MIXPREC_TEST_POLICIES > 2
  run_under<Amp<bfloat16>>(body);
  run_under<PyTorchAmp<float16>>(body);
  run_under<ApexO2>(body);
  run_under<ApexO3>(body);
  run_under<Mmcv<float16>>(body);
#endif
}

/// The same for float, one mixed policy, and the two that cast the model: what lays memory out in different ways. For
/// cases in which the others can show nothing new and compile time is the price.
template <class Body>
void for_some_policies(Body const& body) {
  run_under<Amp<float16>>(body);
#if MIXPREC_TEST_POLICIES > 1
  run_under<Fp32>(body);
#endif
#if MIXPREC_TEST_POLICIES > 2
  run_under<ApexO2>(body);
  run_under<ApexO3>(body);
#endif
}

/// The gradients of `Net` in double against central differences of its forward pass, some elements of each parameter.
template <class Net>
void check_differences(Case const& settings) {
  NamedValues state = draw_state<Net>(settings, Draw::smooth);
  Outcome const analytic = run<Net, Fp64, Cpu>(settings, state);
  Values const g = upstream(analytic.output.size());
  auto const loss = [&] {
    Values const y = run<Net, Fp64, Cpu>(settings, state, false).output;
    double total = 0;
    for (std::size_t index = 0; index < y.size(); ++index) total += y[index] * g[index];
    return total;
  };
  for (std::size_t at = 0; at < analytic.gradients.size(); ++at) {
    auto const& [name, gradient] = analytic.gradients[at];
    if (gradient.empty()) continue;
    Values& values = state[at].second;
    Values got, wanted;
    for (std::size_t index = 0; index < values.size(); index += 1 + values.size() / 12) {
      double const value = values[index], h = 1e-5;
      values[index] = value + h;
      double const above = loss();
      values[index] = value - h;
      double const below = loss();
      values[index] = value;
      wanted.push_back((above - below) / (2 * h));
      got.push_back(gradient[index]);
    }
    CHECK_MESSAGE(largest(wanted) > 0, name << " has no influence: the case checks nothing");
    CHECK_EQ(difference("finite difference of " + name, got, wanted, 1e-6), "");
  }
}

/// `Net` under `Policy` on `B` against the oracle.
template <class Net, class Policy, class B>
void check_against_oracle(Case const& settings, NamedValues const& state, Outcome const& oracle) {
  Outcome const outcome = run<Net, Policy, B>(settings, state);
  double const relative = tolerance_of(outcome.rows, settings);
  CHECK_EQ(difference("output", outcome.output, oracle.output, relative), "");
  CHECK_EQ(difference(outcome.gradients, oracle.gradients, relative), "");
  CHECK_EQ(difference(outcome.buffers, oracle.buffers, relative), "");
}

/// Everything about one op on backend `B`.
template <class Net, class B>
void check_op(Case const& settings) {
  if constexpr (std::is_same_v<B, Cpu>) check_differences<Net>(settings);
  NamedValues const state = draw_state<Net>(settings, Draw::coarse);
  Outcome const oracle = run<Net, Fp64, Cpu>(settings, state);
  for_each_policy([&]<class Policy>() { check_against_oracle<Net, Policy, B>(settings, state, oracle); });
}

}  // namespace mixprec::test
