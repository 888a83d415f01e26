// SPDX-License-Identifier: Apache-2.0
// The precision plan: the model's own forward pass, run by the compiler on shapes.
#pragma once

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
  std::size_t workspace_cap = GiB(1);  // what vendor libraries may take on CUDA; counted on its own line
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
  std::int64_t workspace_cap = 0;    // not part of the peak
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

/// Numbers a model in constant evaluation and remembers what the plan needs.
struct PlanSink {
  struct Entry {
    std::int64_t size;
    DType master;
    bool frozen;
  };
  Sequence<nn::Path> paths;
  Sequence<Entry> entries;
  std::int64_t buffer_bytes = 0;
  DType (*stored)(ParameterKind) = nullptr;
  DType accumulator = DType::float32;
  int buffers = 0;

  constexpr int add_module(nn::Path const& path) { return paths.push_back(path); }
  template <int Rank>
  constexpr int parameter(nn::Path const&, Parameter<Rank> const& parameter, Initial) {
    return entries.push_back({parameter.shape.size(), stored(parameter.kind), parameter.frozen});
  }
  constexpr int buffer(nn::Path const&, Buffer const& buffer) {
    buffer_bytes +=
        static_cast<std::int64_t>(arena_rounded(static_cast<std::size_t>(buffer.size) * size_of(accumulator)));
    return buffers++;
  }
};

template <class Policy>
constexpr PlanSink plan_sink() {
  PlanSink sink;
  sink.stored = [](ParameterKind kind) { return Policy::parameter(kind); };
  sink.accumulator = accumulator_of(Policy::low);
  return sink;
}

/// The same grouping as ParameterStore::lay_out, in bytes.
constexpr void add_parameters(PlanMemory& memory, PlanSink const& sink, Sequence<ParameterUse> const& uses,
                              PlanOptions options) {
  struct Segment {
    DType master, working, gradient;
    bool trained;
    std::int64_t size;
  };
  Sequence<Segment> segments;
  for (int id = 0; id < sink.entries.size() && id < uses.size(); ++id) {
    ParameterUse const use = uses[id];
    if (use.count == 0) continue;
    PlanSink::Entry const& entry = sink.entries[id];
    DType const gradient = options.accumulate_gradients || use.count > 1 ? accumulator_of(use.dtype) : use.dtype;
    int at = 0;
    while (at < segments.size() && !(segments[at].master == entry.master && segments[at].working == use.dtype &&
                                     segments[at].gradient == gradient && segments[at].trained == !entry.frozen))
      ++at;
    if (at == segments.size()) segments.push_back({entry.master, use.dtype, gradient, !entry.frozen, 0});
    segments[at].size += (entry.size + 15) / 16 * 16;
  }
  auto const bytes = [](std::int64_t size, DType dtype) {
    return static_cast<std::int64_t>(arena_rounded(static_cast<std::size_t>(size) * size_of(dtype)));
  };
  for (Segment const& segment : segments) {
    memory.parameters += bytes(segment.size, segment.master);
    if (segment.working != segment.master) memory.working_copies += bytes(segment.size, segment.working);
    if (segment.trained) {
      memory.gradients += bytes(segment.size, segment.gradient);
      memory.optimizer_state +=
          (options.optimizer_states + (options.ema ? 1 : 0)) * bytes(segment.size, segment.master);
    }
  }
}

}  // namespace detail

/// A plan of `Rows` ops over `Modules` modules. Every member is usable in static_assert.
template <int Rows, int Modules>
struct Plan {
  PlanRow row[Rows > 0 ? Rows : 1]{};
  nn::Path path[Modules > 0 ? Modules : 1]{};
  PlanMemory memory{};
  TraceMismatch mismatch{};
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
    nn::Path const module = of.place.module < 0 ? nn::Path{} : path[of.place.module];
    if (of.place.own) return module;
    return (of.place.inside ? module : module.parent()).joined(of.op);
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
constexpr void trace_step(Trace& trace, PlanSink& sink, PlanMemory& memory, Shape<Rank> shape, PlanOptions options) {
  using Input = std::conditional_t<Policy::low == DType::float64, double, float>;
  Net net{};
  nn::number(net, sink);
  auto const forward = [&](auto const& x) { return nn::call<Policy>(net, x); };
  Value<Meta, Input, Rank, dynamic_channels, Policy> const image(trace, trace.template allocate<Input>(shape), {}, {});
  auto const loss = Loss{}(forward, image);
  auto const rounded = [](std::int64_t bytes) {
    return static_cast<std::int64_t>(arena_rounded(static_cast<std::size_t>(bytes)));
  };
  std::int64_t const image_bytes = rounded(image.tensor().storage().bytes());
  memory.inputs = image_bytes;
  if constexpr (requires { Loss::input_bytes(shape); }) memory.inputs += rounded(Loss::input_bytes(shape));
  std::int64_t const kept = trace.live();
  auto const direct = [&](int id) {
    return trace.uses()[id].count == 1 &&
           (!options.accumulate_gradients || trace.uses()[id].dtype == accumulator_of(trace.uses()[id].dtype));
  };
  if (loss.requires_grad()) {
    trace.backward(loss.slot().index, static_cast<std::int64_t>(sizeof(typename decltype(loss)::dtype)), direct);
  }
  memory.kept = kept - image_bytes;
  memory.transient = trace.high_water() - kept;
  memory.buffers = sink.buffer_bytes + static_cast<std::int64_t>(arena_granularity);
  memory.workspace_cap = static_cast<std::int64_t>(options.workspace_cap);
  add_parameters(memory, sink, trace.uses(), options);
}

struct PlanCounts {
  int rows, modules, path_length;
};
template <class Net, class Policy, class Loss, Shape Input, PlanOptions Options>
constexpr PlanCounts count_plan() {
  Trace trace;
  PlanSink sink = plan_sink<Policy>();
  PlanMemory memory;
  trace_step<Net, Policy, Loss>(trace, sink, memory, Input, Options);
  int const module = trace.mismatch().place.module;
  return {trace.rows().size(), sink.paths.size(), module < 0 ? 0 : sink.paths[module].length};
}

/// The counts, or the second overload's -1 where the forward pass is no constant expression.
template <class Net, class Policy, class Loss, Shape Input, PlanOptions Options,
          PlanCounts Counts = count_plan<Net, Policy, Loss, Input, Options>()>
constexpr PlanCounts counts_of(int) {
  return Counts;
}
template <class Net, class Policy, class Loss, Shape Input, PlanOptions Options>
constexpr PlanCounts counts_of(...) {
  return {-1, 0, 0};
}

/// counts_of, and where there are none a sentence that says why; evaluating count_plan once more then makes the
/// compiler name the function that it could not run.
template <class Net, class Policy, class Loss, Shape Input, PlanOptions Options>
constexpr PlanCounts checked_counts() {
  constexpr PlanCounts counts = counts_of<Net, Policy, Loss, Input, Options>(0);
  static_assert(
      counts.rows >= 0,
      "mixprec: plan: the compiler cannot run this model's forward pass. Write 'constexpr auto operator()(auto "
      "const& x) const' in every module of your own; the next error names the function, or the limit, that stops it.");
  if constexpr (counts.rows < 0) {
    return std::integral_constant<int, count_plan<Net, Policy, Loss, Input, Options>().rows>{}, counts;
  } else {
    return counts;
  }
}

template <class Net, class Policy, class Loss, Shape Input, PlanOptions Options>
constexpr auto make_plan() {
  constexpr PlanCounts counts = checked_counts<Net, Policy, Loss, Input, Options>();
  Trace trace;
  PlanSink sink = plan_sink<Policy>();
  Plan<counts.rows, counts.modules> plan;
  trace_step<Net, Policy, Loss>(trace, sink, plan.memory, Input, Options);
  for (int at = 0; at < counts.rows; ++at) plan.row[at] = trace.rows()[at];
  for (int at = 0; at < counts.modules; ++at) plan.path[at] = sink.paths[at];
  plan.mismatch = trace.mismatch();
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

namespace detail {
template <class Net, class Policy, class Loss, Shape Input, PlanOptions Options>
constexpr auto const& checked_plan() {
  constexpr auto const& plan = unchecked_plan<Net, Policy, Loss, Input, Options>;
  if constexpr (plan.mismatch.what != nullptr) {
    constexpr PlanRow at{.place = plan.mismatch.place, .op = plan.mismatch.op};
    constexpr nn::Path path = plan.path_of(at);
    [&]<std::size_t... I>(std::index_sequence<I...>) {
      static_assert(sizeof(ExtentsDoNotFit<AtLayer<path.text[I]...>, Expected<plan.mismatch.expected>,
                                           Received<plan.mismatch.received>>) > 0,
                    "mixprec: plan: extents do not fit. Change the layer or the shape of its input.");
    }
    (std::make_index_sequence<static_cast<std::size_t>(path.length)>{});
  }
  return plan;
}
}  // namespace detail

/// The plan of one training step of `Net` under `Policy` on a batch of shape `Input` (logical order, float):
/// `constexpr auto const& plan = mp::plan<Net, Policy, mp::Shape{256, 1, 28, 28}>;`
/// Errors: extents that do not fit stop the compiler and name the layer and both values.
template <class Net, class Policy, Shape Input, PlanOptions Options = PlanOptions{}, class Loss = CrossEntropyLoss>
inline constexpr auto const& plan = detail::checked_plan<Net, Policy, Loss, Input, Options>();

}  // namespace mixprec::inline MIXPREC_ABI
