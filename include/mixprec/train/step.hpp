// SPDX-License-Identifier: Apache-2.0
// One training step: forward, backward, loss scaling, optimizer, schedule, EMA; nothing in it asks the host. On CUDA
// the whole of it is one graph.
#pragma once

#include <cstring>   // std::memcpy
#include <iterator>  // std::next
#include <list>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include <mixprec/optim/schedule.hpp>
#include <mixprec/scaler/presets.hpp>
#include <mixprec/scaler/scaler.hpp>
#include <mixprec/scaler/step_result.hpp>
#include <mixprec/train/optimizer.hpp>

namespace mixprec::inline MIXPREC_ABI {

/// A tensor in host memory, in the memory order of its rank (images NHWC).
template <class T, int Rank>
struct HostTensor {
  T const* data;
  Shape<Rank> shape;  // logical order
};
template <class T, int Rank>
HostTensor(T*, Shape<Rank>) -> HostTensor<std::remove_const_t<T>, Rank>;

struct StepOptions {
  std::optional<Ema> ema{};
  int accumulate = 1;  // micro-batches a step; their gradients are averaged
  bool graph = true;   // on CUDA, replay the step as one graph from its second run with the same extents on
};

/// The whole step as an object: `Step step{net, opt, scaler, Poly{...}, loss};` then `step(image, label)`.
/// `loss(net, inputs...)` is generic code that returns a scalar Value.
///
/// On CUDA, the first run with new extents is eager (it tunes and takes memory), the second is captured, and from then
/// on new data goes through fixed buffers into one graph launch. Other extents get a graph of their own. Code that
/// cannot be captured (it asks the host, or allocates) keeps running eagerly, and graph_note() says why.
template <class M, class Opt, class S, class Loss>
class Step {
 public:
  using B = typename M::backend;

  /// Errors: Error for settings that cannot work. A dynamic scaler under a policy without float16 does not compile.
  Step(M& model, Opt& optimizer, S const& scaler, ScheduleSettings const& schedule, Loss loss,
       StepOptions const& options = {})
      : model_(model),
        optimizer_(optimizer),
        scaler_(scaler),
        schedule_(schedule),
        loss_(std::move(loss)),
        options_(options),
        values_(model.stream()) {
    static_assert(scaler_fits_v<S, M::policy::low>,
                  "mixprec: Step: a dynamic scaler has nothing to do under this policy, whose low-precision dtype has "
                  "float's range. Use Scaler<NoScaler>.");
    if (options.accumulate < 1) {
      throw Error("Step: accumulate is " + std::to_string(options.accumulate) + ". Use at least 1.");
    }
    if (options.accumulate > 1 && !model.options().accumulate_gradients) {
      throw Error("Step: accumulate is " + std::to_string(options.accumulate) +
                  ", but the model's gradients cannot add up. Build the model with .accumulate_gradients = true.");
    }
    if (options.ema) ema_ = *options.ema;
    Arena<B>& arena = model.session().arena();
    scaler_state_ = Storage<B>(arena, sizeof(ScalerState));
    step_state_ = Storage<B>(arena, sizeof(StepState));
    last_loss_ = Storage<B>(arena, sizeof(LossType));
    restore(scaler.initial_state(), initial_step_state(schedule_, ema_));
  }
  Step(Step const&) = delete;
  Step& operator=(Step const&) = delete;
  ~Step() { model_.session().clear_tape(); }

  /// Takes one step (or one micro-step) on a batch in host memory. Sync: on CUDA the batch is copied to pinned memory
  /// and on from there; the host waits only where it is two batches ahead.
  template <class... T, int... Rank>
  void operator()(HostTensor<T, Rank> const&... inputs) {
    Runs& runs = run_for(inputs.shape...);
    auto const tensors = inputs_of<T...>(runs, inputs.shape...);
    [&]<std::size_t... I>(std::index_sequence<I...>) { (upload(I, std::get<I>(tensors), inputs.data), ...); }
    (std::index_sequence_for<T...>{});
    take(runs, tensors);
  }

  /// Takes one step (or one micro-step) on a batch in backend memory; it is copied into the step's own buffers, so that
  /// a graph reads new data at fixed addresses. Sync: none.
  template <class... T, int... Rank>
  void operator()(Tensor<B, T, Rank> const&... inputs) {
    Runs& runs = run_for(inputs.shape()...);
    auto const tensors = inputs_of<T...>(runs, inputs.shape()...);
    [&]<std::size_t... I>(std::index_sequence<I...>) {
      (B::copy(model_.stream(), std::get<I>(tensors).data(), inputs.data(), inputs.bytes()), ...);
    }
    (std::index_sequence_for<T...>{});
    take(runs, tensors);
  }

  /// The last batch's loss, unscaled. Sync: waits.
  double loss() {
    LossType value{};
    B::copy_to_host(model_.stream(), &value, last_loss_.data(), sizeof(value));
    return static_cast<double>(value);
  }
  /// Whether the last step was taken, the scale, the learning rate. Sync: waits.
  StepResult result() { return step_result(read<ScalerState>(scaler_state_), read<StepState>(step_state_)); }
  /// State for checkpoints; `restore` takes it back. Sync: waits.
  ScalerState scaler_snapshot() { return read<ScalerState>(scaler_state_); }
  StepState step_snapshot() { return read<StepState>(step_state_); }
  void restore(ScalerState const& scaler, StepState const& step) {
    B::copy_from_host(model_.stream(), scaler_state_.data(), &scaler, sizeof(scaler));
    B::copy_from_host(model_.stream(), step_state_.data(), &step, sizeof(step));
  }

  /// Graphs captured so far; 0 on the CPU.
  int captures() const { return captures_; }
  /// Why a step runs eagerly although a graph was asked for; empty where it does not.
  std::string const& graph_note() const { return graph_note_; }
  /// Memory of activations and gradients of activations; parameters are in the session's arena.
  Arena<B>& arena() { return values_; }

 private:
  using LossType = accumulator_t<type_of_t<M::policy::low>>;
  // What only a backend with graphs has.
  template <class Backend, bool = Backend::captures>
  struct Capture {
    struct Graph {};
    struct InputBuffer {};
  };
  template <class Backend>
  struct Capture<Backend, true> {
    using Graph = typename Backend::Graph;
    using InputBuffer = typename Backend::InputBuffer;
  };
  using Graph = typename Capture<B>::Graph;

  // Runs with one set of extents: their input buffers, and a graph for each kind of micro-step.
  struct Runs {
    std::vector<std::int64_t> extents;
    std::vector<Storage<B>> memory;
    struct Kind {
      int eager_runs = 0;
      bool eager_only = false;
      Graph graph;
    } kinds[4];
  };

  ScalerState* scaler_state() { return static_cast<ScalerState*>(scaler_state_.data()); }
  StepState* step_state() { return static_cast<StepState*>(step_state_.data()); }
  template <class State>
  State read(Storage<B> const& storage) {
    State state;
    B::copy_to_host(model_.stream(), &state, storage.data(), sizeof(state));
    return state;
  }

  template <int... Rank>
  Runs& run_for(Shape<Rank> const&... shapes) {
    std::vector<std::int64_t> extents;
    auto const append = [&](auto const& shape) {
      extents.push_back(shape.rank);
      for (int axis = 0; axis < shape.rank; ++axis) extents.push_back(shape[axis]);
    };
    (append(shapes), ...);
    for (Runs& runs : runs_)
      if (runs.extents == extents) return runs;
    runs_.emplace_back();
    runs_.back().extents = std::move(extents);
    return runs_.back();
  }

  template <class... T, int... Rank>
  auto inputs_of(Runs& runs, Shape<Rank> const&... shapes) {
    if (runs.memory.empty()) {
      (runs.memory.emplace_back(model_.session().arena(), static_cast<std::size_t>(shapes.size()) * sizeof(T)), ...);
    }
    std::size_t at = 0;
    auto const tensor = [&]<class Element, int R>(Shape<R> const& shape) {
      Storage<B> const& memory = runs.memory[at++];
      return Tensor<B, Element, R>(memory, static_cast<Element*>(memory.data()), shape);
    };
    return std::tuple<Tensor<B, T, Rank>...>{tensor.template operator()<T>(shapes)...};
  }

  template <class T, int Rank>
  void upload(std::size_t index, Tensor<B, T, Rank> const& to, T const* from) {
    if constexpr (B::captures) {
      while (buffers_.size() <= index) buffers_.emplace_back();
      auto buffer = std::next(buffers_.begin(), static_cast<std::ptrdiff_t>(index));
      void* const staged = buffer->next(to.bytes());
      std::memcpy(staged, from, to.bytes());
      B::copy_from_host_async(model_.stream(), to.data(), staged, to.bytes());
      buffer->copied(model_.stream());
    } else {
      B::copy_from_host(model_.stream(), to.data(), from, to.bytes());
    }
  }

  template <class Inputs>
  void take(Runs& runs, Inputs const& inputs) {
    bool const first = micro_ == 0, last = micro_ + 1 == options_.accumulate;
    auto& kind = runs.kinds[(first ? 1 : 0) + (last ? 2 : 0)];
    micro_ = last ? 0 : micro_ + 1;
    auto const work = [&] { std::apply([&](auto const&... input) { run(first, last, input...); }, inputs); };
    if constexpr (B::captures) {
      if (options_.graph && !kind.eager_only && kind.eager_runs > 0 && !model_.session().recording()) {
        if (!kind.graph) capture(kind, work);
        if (kind.graph) return kind.graph.launch(model_.stream());
      }
    }
    ++kind.eager_runs;
    work();
  }

  template <class Kind, class Work>
  void capture(Kind& kind, Work const& work) {
    try {
      kind.graph = Graph::capture(model_.stream(), work);
      ++captures_;
    } catch (Error const& error) {
      model_.session().clear_tape();
      kind.eager_only = true;
      graph_note_ = std::string("the step runs eagerly, because it could not be captured: ") + error.what();
    }
  }

  template <class... Input>
  void run(bool first, bool last, Input const&... inputs) {
    Session<B>& session = model_.session();
    session.use_arena(&values_);
    struct Restore {
      Session<B>& session;
      ~Restore() { session.use_arena(nullptr); }
    } const restore_arena{session};
    if (first) {
      session.begin_step();
      begin_step(model_.stream(), scaler_state(), step_state());
    }
    {
      auto const loss = loss_(model_, inputs...);
      cast(model_.stream(), loss.tensor().data(), static_cast<LossType*>(last_loss_.data()), std::int64_t{1});
      session.backward(loss, &scaler_state()->scale, 1.0 / options_.accumulate);
    }
    optimizer_.prepare(options_.ema.has_value());
    if (!last) return;
    bool const norm = optimizer_.needs_norm();
    if (scaler_.checks() || norm) optimizer_.check(norm, scaler_state(), step_state());
    optimizer_.update(optimizer_.options(), scaler_.checks(), scaler_state(), step_state());
    finish_step(model_.stream(), scaler_.settings(), schedule_, ema_, scaler_state(), step_state());
  }

  M& model_;
  Opt& optimizer_;
  S scaler_;
  ScheduleSettings schedule_;
  Loss loss_;
  StepOptions options_;
  EmaSettings ema_;
  Arena<B> values_;  // before everything that holds its blocks
  Storage<B> scaler_state_, step_state_, last_loss_;
  std::list<Runs> runs_;
  std::list<typename Capture<B>::InputBuffer> buffers_;
  std::string graph_note_;
  int micro_ = 0, captures_ = 0;
};

}  // namespace mixprec::inline MIXPREC_ABI
