// SPDX-License-Identifier: Apache-2.0
// The precision plan: the model's own forward pass, run by the compiler on shapes.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <utility>

#include <mixprec/nn/call.hpp>
#include <mixprec/ops/loss.hpp>

namespace mixprec::inline MIXPREC_ABI {

/// What a training step adds to the model. Bytes are bytes; counts are counts.
struct PlanOptions {
  int optimizer_states = 1;           // tensors of the parameters' size: SGD with momentum 1, AdamW 2
  bool accumulate_gradients = false;  // parameter gradients in float
  bool ema = false;
};

/// Bytes of a training step, rounded as the arena rounds.
struct PlanMemory {
  std::int64_t parameters = 0;       // masters
  std::int64_t working_copies = 0;   // low-precision weights
  std::int64_t gradients = 0;        // of parameters
  std::int64_t optimizer_state = 0;  // and EMA
  std::int64_t buffers = 0;          // running statistics and the generator's key
  std::int64_t inputs = 0;           // the batch
  std::int64_t kept = 0;             // activations alive when backward begins, the batch not counted
  std::int64_t transient = 0;        // what the step needs beyond all of the above at its peak
  std::int64_t workspace_cap = 0;    // the policy's; not part of the peak
};

/// The loss that a plan assumes unless told otherwise: cross-entropy of (N,V) logits. A loss that reads tensors of the
/// batch beside the network's input says in `input_bytes` what they take; in the trace they have no memory of their
/// own.
struct CrossEntropyLoss {
  template <class Net, class X>
  constexpr auto operator()(Net const& net, X const& x) const {
    return cross_entropy(net(x), Tensor<Meta, std::int32_t, 1>(Shape{x.shape()[0]}));
  }
  template <int Rank>
  static constexpr std::int64_t input_bytes(Shape<Rank> x) {
    return 4 * x[0];
  }
};

namespace detail {

struct PlanParameter {
  std::int64_t size;
  ParameterKind kind;
  bool frozen;
};

/// Numbers a model in constant evaluation and remembers what the plan needs.
struct PlanSink {
  Sequence<nn::Name> modules;
  Sequence<PlanParameter> parameters;
  Sequence<std::int64_t> buffers;  // elements

  constexpr int add_module(nn::Name name) { return modules.push_back(name); }
  template <int Rank>
  constexpr int parameter(nn::Name, Parameter<Rank> const& parameter, Initial) {
    return parameters.push_back({parameter.shape.size(), parameter.kind, parameter.frozen});
  }
  constexpr int buffer(nn::Name, Buffer const& buffer) { return buffers.push_back(buffer.size); }
};

/// A model whose modules and parameters have their indices. Constant evaluation of its own, once for all plans: the
/// compilers' limits hold for each.
template <class Net, int Modules, int Parameters, int Buffers>
struct Numbered {
  Net net{};
  nn::Name modules[Modules]{};
  PlanParameter parameters[Parameters + 1]{};
  std::int64_t buffers[Buffers + 1]{};
  static constexpr int module_count = Modules, parameter_count = Parameters, buffer_count = Buffers;
};
template <class Net>
constexpr auto make_numbered() {
  constexpr auto counts = [] {
    Net net{};
    PlanSink sink;
    nn::number(net, sink);
    return std::array{sink.modules.size(), sink.parameters.size(), sink.buffers.size()};
  }();
  Numbered<Net, counts[0], counts[1], counts[2]> numbered;
  PlanSink sink;
  nn::number(numbered.net, sink);
  for (int at = 0; at < counts[0]; ++at) numbered.modules[at] = sink.modules[at];
  for (int at = 0; at < counts[1]; ++at) numbered.parameters[at] = sink.parameters[at];
  for (int at = 0; at < counts[2]; ++at) numbered.buffers[at] = sink.buffers[at];
  return numbered;
}
template <class Net>
inline constexpr auto numbered = make_numbered<Net>();

constexpr std::int64_t rounded_bytes(std::int64_t bytes) {
  return static_cast<std::int64_t>(arena_rounded(static_cast<std::size_t>(bytes)));
}

/// The same grouping as ParameterStore::lay_out, in bytes.
template <class Policy, class Net>
constexpr void add_parameters(PlanMemory& memory, Net const& net, Sequence<ParameterUse> const& uses,
                              PlanOptions options) {
  // By the dtypes of master, working copy and gradient, and whether it is trained.
  std::int64_t elements[4][4][4][2]{};
  PlanParameter const* parameter = net.parameters;
  for (ParameterUse const& use : uses) {
    DType const master = Policy::parameter(parameter->kind);
    DType const working = use.working(master);
    DType const gradient = use.sums(options.accumulate_gradients) ? accumulator_of(working) : working;
    if (use.count > 0)
      elements[static_cast<int>(master)][static_cast<int>(working)][static_cast<int>(gradient)]
              [parameter->frozen ? 0 : 1] += (parameter->size + 15) / 16 * 16;
    ++parameter;
  }
  constexpr DType dtypes[]{DType::float64, DType::float32, DType::float16, DType::bfloat16};
  for (DType const master : dtypes)
    for (DType const working : dtypes)
      for (DType const gradient : dtypes)
        for (int trained = 0; trained < 2; ++trained) {
          std::int64_t const size =
              elements[static_cast<int>(master)][static_cast<int>(working)][static_cast<int>(gradient)][trained];
          if (size == 0) continue;
          auto const bytes = [&](DType dtype) {
            return rounded_bytes(size * static_cast<std::int64_t>(size_of(dtype)));
          };
          memory.parameters += bytes(master);
          if (working != master) memory.working_copies += bytes(working);
          if (trained == 0) continue;
          memory.gradients += bytes(gradient);
          memory.optimizer_state += (options.optimizer_states + (options.ema ? 1 : 0)) * bytes(master);
        }
}

}  // namespace detail

/// A plan of `Rows` ops over `Modules` modules. Every member is usable in static_assert.
template <int Rows, int Modules>
struct Plan {
  PlanRow row[Rows > 0 ? Rows : 1]{};
  nn::Name const* module = nullptr;  // the module table, which plans of one model share
  PlanMemory memory{};
  TraceMismatch mismatch{};
  UnlistedParameter unlisted{};
  char const* policy = "";

  static constexpr int rows() { return Rows; }

  /// Casts that are launched as kernels of their own.
  constexpr int materialized_casts() const {
    int count = 0;
    for (int at = 0; at < Rows; ++at) count += row[at].materialized_cast ? 1 : 0;
    return count;
  }
  /// Operands converted in registers or read from a working copy.
  constexpr int folded_casts() const {
    int count = 0;
    for (int at = 0; at < Rows; ++at) count += row[at].folded_casts;
    return count;
  }
  /// Floating-point operations of one forward pass; a multiply-add counts two.
  constexpr double flops() const {
    double sum = 0;
    for (int at = 0; at < Rows; ++at) sum += row[at].flops;
    return sum;
  }
  /// Bytes that the forward pass keeps for backward, as the rows say.
  constexpr std::int64_t kept_bytes() const {
    std::int64_t sum = 0;
    for (int at = 0; at < Rows; ++at) sum += row[at].kept_bytes;
    return sum;
  }
  /// Peak bytes of a training step without vendor workspace.
  constexpr std::size_t peak_bytes() const {
    return static_cast<std::size_t>(memory.parameters + memory.working_copies + memory.gradients +
                                    memory.optimizer_state + memory.buffers + memory.inputs + memory.kept +
                                    memory.transient);
  }
  /// The path of a row: "layer1.0.conv2".
  constexpr nn::Path path_of(PlanRow const& of) const {
    auto const [at, inside, own] = of.place;
    if (at < 0) return {module, {-1, own ? "" : of.op}};
    return {module, own ? module[at] : nn::Name{inside ? at : module[at].parent, of.op}};
  }
  /// True where some op's operands are read, computed or stored in `dtype`.
  constexpr bool uses(DType dtype) const {
    for (int at = 0; at < Rows; ++at)
      if (row[at].precision.operand == dtype || row[at].precision.result == dtype) return true;
    return false;
  }
};

namespace detail {

/// Traces a forward pass of `Net` on one float batch, and the backward pass behind it.
template <class Net, class Policy, class Loss, int Rank>
constexpr void trace_step(Trace& trace, PlanMemory& memory, Shape<Rank> shape, PlanOptions options) {
  using Input = std::conditional_t<Policy::low == DType::float64, double, float>;
  auto const& model = numbered<Net>;
  auto const forward = [&](auto const& x) { return nn::call<Policy>(model.net, x); };
  Value<Meta, Input, Rank, dynamic_channels, Policy> const image(trace, trace.template allocate<Input>(shape), {}, {});
  auto const loss = Loss{}(forward, image);
  std::int64_t const image_bytes = rounded_bytes(shape.size() * static_cast<std::int64_t>(sizeof(Input)));
  memory.inputs = image_bytes;
  if constexpr (requires { Loss::input_bytes(shape); }) memory.inputs += rounded_bytes(Loss::input_bytes(shape));
  std::int64_t const kept = trace.live();
  if (loss.requires_grad()) {
    trace.backward(loss.slot(), static_cast<std::int64_t>(sizeof(typename decltype(loss)::dtype)),
                   options.accumulate_gradients);
  }
  memory.kept = kept - image_bytes;
  memory.transient = trace.high_water() - kept;
  memory.buffers = static_cast<std::int64_t>(arena_granularity);  // the generator's key
  for (int at = 0; at < model.buffer_count; ++at)
    memory.buffers +=
        rounded_bytes(model.buffers[at] * static_cast<std::int64_t>(size_of(accumulator_of(Policy::low))));
  memory.workspace_cap = static_cast<std::int64_t>(Policy::workspace_cap);
  add_parameters<Policy>(memory, model, trace.uses(), options);
}

template <class Net, class Policy, class Loss, Shape Input, PlanOptions Options>
constexpr int count_rows() {
  Trace trace;
  PlanMemory memory;
  trace_step<Net, Policy, Loss>(trace, memory, Input, Options);
  return trace.rows().size();
}

/// The count, or the second overload's -1 where the forward pass is no constant expression.
template <class Net, class Policy, class Loss, Shape Input, PlanOptions Options,
          int Rows = count_rows<Net, Policy, Loss, Input, Options>()>
constexpr int rows_of(int) {
  return Rows;
}
template <class Net, class Policy, class Loss, Shape Input, PlanOptions Options>
constexpr int rows_of(...) {
  return -1;
}

/// rows_of, and where there are none a sentence that says why; evaluating count_rows once more then makes the
/// compiler name the function that it could not run.
template <class Net, class Policy, class Loss, Shape Input, PlanOptions Options>
constexpr int checked_rows() {
  constexpr int rows = rows_of<Net, Policy, Loss, Input, Options>(0);
  static_assert(
      rows >= 0,
      "mixprec: plan: the compiler cannot run this model's forward pass. Write 'constexpr auto operator()(auto "
      "const& x) const' in every module of your own; the next error names the function, or the limit, that stops it.");
  if constexpr (rows < 0) {
    return std::integral_constant<int, count_rows<Net, Policy, Loss, Input, Options>()>{};
  } else {
    return rows;
  }
}

template <class Net, class Policy, class Loss, Shape Input, PlanOptions Options>
constexpr auto make_plan() {
  constexpr int rows = checked_rows<Net, Policy, Loss, Input, Options>();
  Trace trace;
  Plan<rows, numbered<Net>.module_count> plan;
  trace_step<Net, Policy, Loss>(trace, plan.memory, Input, Options);
  PlanRow* row = plan.row;
  for (PlanRow const& traced : trace.rows()) *row++ = traced;
  plan.module = numbered<Net>.modules;
  plan.mismatch = trace.mismatch();
  plan.unlisted = trace.unlisted();
  plan.policy = Policy::name;
  return plan;
}

template <class Net, class Policy, class Loss, Shape Input, PlanOptions Options>
inline constexpr auto unchecked_plan = make_plan<Net, Policy, Loss, Input, Options>();

}  // namespace detail

template <char... Characters>
struct AtLayer {};
template <std::int64_t>
struct Expected {};
template <std::int64_t>
struct Received {};

/// Left undefined: where an op of a plan does not fit, the first error line shows the layer's path and both values.
template <class Layer, class Wanted, class Got>
struct ExtentsDoNotFit;

template <char... Characters>
struct ReadBy {};
template <char... Characters>
struct CalledIn {};
template <char... Characters>
struct CalledOnResultOf {};
template <std::int64_t...>
struct ParameterShape {};

/// Left undefined: where a parameter is no part of the model, the first error line shows its shape, the op that reads
/// it, and the module in which, or on whose result, that op was called; nothing is known of the parameter's own.
template <class Op, class Where, class Extents>
struct ParameterIsMissingInMIXPREC_MODULE;

namespace detail {

/// The characters of Text::path(), and their indices.
template <class Text>
inline constexpr std::size_t text_length = Text::path().view().size();
template <class Text>
inline constexpr auto text_characters = [] {
  std::array<char, text_length<Text>> characters{};
  for (std::size_t index = 0; index < characters.size(); ++index) characters[index] = Text::path().view()[index];
  return characters;
}();
template <class Text>
using TextIndices = std::make_index_sequence<text_length<Text>>;

/// What the messages about `Plan::plan` name.
template <class Plan>
struct MisfitPath {
  static constexpr nn::Path path() {
    return Plan::plan.path_of(PlanRow{.place = Plan::plan.mismatch.place, .op = Plan::plan.mismatch.op});
  }
};
template <class Plan>
struct UnlistedOp {
  static constexpr nn::Path path() { return {nullptr, {-1, Plan::plan.unlisted.op}}; }
};
template <class Plan>
struct UnlistedPlace {
  static constexpr nn::Path path() {
    int const at = Plan::plan.unlisted.operand.module;
    if (at < 0) return {};
    return {Plan::plan.module, Plan::plan.module[at]};
  }
};

template <class Plan, std::size_t... At>
constexpr void refuse_misfit(std::index_sequence<At...>) {
  static_assert(
      sizeof(ExtentsDoNotFit<AtLayer<text_characters<MisfitPath<Plan>>[At]...>, Expected<Plan::plan.mismatch.expected>,
                             Received<Plan::plan.mismatch.received>>) > 0,
      "mixprec: plan: extents do not fit. Change the layer, or what it is given.");
}
template <class Plan, template <char...> class Where, std::size_t... Op, std::size_t... At, std::size_t... Axis>
constexpr void refuse_unlisted(std::index_sequence<Op...>, std::index_sequence<At...>, std::index_sequence<Axis...>) {
  static_assert(sizeof(ParameterIsMissingInMIXPREC_MODULE<ReadBy<text_characters<UnlistedOp<Plan>>[Op]...>,
                                                          Where<text_characters<UnlistedPlace<Plan>>[At]...>,
                                                          ParameterShape<Plan::plan.unlisted.extents[Axis]...>>) > 0,
                "mixprec: plan: a parameter, or the module that holds it, is missing from MIXPREC_MODULE(...). List "
                "every member there.");
}

template <class Net, class Policy, class Loss, Shape Input, PlanOptions Options>
struct UncheckedPlan {
  static constexpr auto const& plan = unchecked_plan<Net, Policy, Loss, Input, Options>;
};

template <class Net, class Policy, class Loss, Shape Input, PlanOptions Options>
constexpr auto const& checked_plan() {
  constexpr auto const& plan = unchecked_plan<Net, Policy, Loss, Input, Options>;
  using Plan = UncheckedPlan<Net, Policy, Loss, Input, Options>;
  if constexpr (plan.unlisted.op != nullptr) {
    using Op = TextIndices<UnlistedOp<Plan>>;
    using At = TextIndices<UnlistedPlace<Plan>>;
    using Axes = std::make_index_sequence<static_cast<std::size_t>(plan.unlisted.rank)>;
    if constexpr (plan.unlisted.operand.inside) {
      refuse_unlisted<Plan, CalledIn>(Op{}, At{}, Axes{});
    } else {
      refuse_unlisted<Plan, CalledOnResultOf>(Op{}, At{}, Axes{});
    }
  }
  if constexpr (!plan.mismatch.fits()) refuse_misfit<Plan>(TextIndices<MisfitPath<Plan>>{});
  return plan;
}
}  // namespace detail

/// The plan of one training step of `Net` under `Policy` on a batch of shape `Input` (logical order, float):
/// `constexpr auto const& plan = mp::plan<Net, Policy, mp::Shape{256, 1, 28, 28}>;`
/// Errors: extents that do not fit stop the compiler and name the layer and both values; so does a parameter that is no
/// part of the model, with its shape and the op that reads it.
template <class Net, class Policy, Shape Input, PlanOptions Options = PlanOptions{}, class Loss = CrossEntropyLoss>
inline constexpr auto const& plan = detail::checked_plan<Net, Policy, Loss, Input, Options>();

}  // namespace mixprec::inline MIXPREC_ABI
