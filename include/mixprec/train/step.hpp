// SPDX-License-Identifier: Apache-2.0
// One training step: forward, backward, loss scaling, optimizer, schedule, EMA; nothing in it asks the host. On CUDA
// the whole of it is one graph.
#pragma once

#include <cstring>   // std::memcpy
#include <iterator>  // std::next
#include <limits>
#include <list>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include <mixprec/train/training_state.hpp>

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
/// On CUDA, the first run with new extents or dtypes is eager (it tunes and takes memory), the second is captured, and
/// from then on new data goes through fixed buffers into one graph launch. Other extents or dtypes get a graph of their
/// own, and so do training mode and TF32 switched on or off, and other micro-steps. Code that cannot be captured (it
/// asks the host, or allocates) keeps running eagerly, and graph_note() says why.
///
/// A throw ends the step: what its micro-steps have added up is dropped, and the next batch is a new step's first;
/// running statistics stay as the forward pass left them.
template <class M, class Opt, class S, class Loss>
class Step final : public TrainingState<M, Opt, S> {
  using Base = TrainingState<M, Opt, S>;
  using Base::model_, Base::optimizer_, Base::passes_;

 public:
  using B = typename M::backend;

  /// Errors: Error for settings that cannot work. A dynamic scaler under a policy without float16 does not compile.
  Step(M& model, Opt& optimizer, S const& scaler, ScheduleSettings const& schedule, Loss loss,
       StepOptions const& options = {})
      : Base(model, optimizer, scaler, schedule, options.ema),
        loss_(std::move(loss)),
        options_(options),
        values_(model.stream()),
        last_loss_(model.session().arena(), sizeof(LossType)) {
    LossType const none = std::numeric_limits<LossType>::quiet_NaN();
    B::copy_from_host(model.stream(), last_loss_.data(), &none, sizeof(none));
    if (options.accumulate < 1) {
      throw Error("Step: accumulate is " + std::to_string(options.accumulate) + ". Use at least 1.");
    }
    if (options.accumulate > 1 && !model.options().accumulate_gradients) {
      throw Error("Step: accumulate is " + std::to_string(options.accumulate) +
                  ", but the model's gradients cannot add up. Build the model with .accumulate_gradients = true.");
    }
  }
  ~Step() { model_.session().clear_tape(); }

  /// Takes one step (or one micro-step) on a batch in host memory. Sync: on CUDA the batch is copied to pinned memory
  /// and on from there; the host waits only where it is two batches ahead. Errors: also Error for a null pointer.
  template <class... T, int... Rank>
  void operator()(HostTensor<T, Rank> const&... inputs) {
    int const micro = std::exchange(passes_, 0);
    (require_data(inputs.data, inputs.shape.size()), ...);
    Runs& runs = run_for<T...>(inputs.shape...);
    auto const tensors = inputs_of<T...>(runs, inputs.shape...);
    [&]<std::size_t... I>(std::index_sequence<I...>) { (upload(I, std::get<I>(tensors), inputs.data), ...); }
    (std::index_sequence_for<T...>{});
    take(runs, tensors, micro);
  }

  /// Takes one step (or one micro-step) on a batch in backend memory; it is copied into the step's own buffers, so that
  /// a graph reads new data at fixed addresses. Sync: none.
  template <class... T, int... Rank>
  void operator()(Tensor<B, T, Rank> const&... inputs) {
    int const micro = std::exchange(passes_, 0);
    Runs& runs = run_for<T...>(inputs.shape()...);
    auto const tensors = inputs_of<T...>(runs, inputs.shape()...);
    auto& stream = model_.stream();
    [&]<std::size_t... I>(std::index_sequence<I...>) {
      (B::copy(stream, std::get<I>(tensors).data(), inputs.data(), inputs.bytes()), ...);
    }
    (std::index_sequence_for<T...>{});
    take(runs, tensors, micro);
  }

  /// The last batch's loss, unscaled; NaN before the first. Sync: waits.
  double loss() {
    LossType value{};
    B::copy_to_host(model_.stream(), &value, last_loss_.data(), sizeof(value));
    return static_cast<double>(value);
  }

  /// Graphs captured so far; 0 on the CPU.
  int captures() const { return captures_; }
  /// Why a step runs eagerly although a graph was asked for; empty where it does not.
  std::string const& graph_note() const { return graph_note_; }
  /// Memory of activations and gradients of activations; parameters are in the session's arena.
  Arena<B>& arena() { return values_; }

 private:
  static void require_data(void const* data, std::int64_t elements) {
    if (data == nullptr && elements > 0)
      throw Error("Step: an input of " + std::to_string(elements) +
                  " elements has a null pointer. Give the address of the batch in host memory.");
  }

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

  // A kind of micro-step: what is baked into its graph besides the extents.
  struct Kind {
    bool first = false, last = false;
    std::vector<int> before, after;  // gradients written before and after it, as the parameter store counts them
    int eager_runs = 0;
    bool eager_only = false;
    typename Capture<B>::Graph graph;
    std::vector<typename Opt::Runs> reads;  // memory that the graph reads
  };
  // Runs with one key: their input buffers and their kinds of micro-step.
  struct Runs {
    std::vector<std::int64_t> key;
    std::vector<Storage<B>> memory;
    std::list<Kind> kinds;
  };

  // The key holds everything outside the step's own state that the host decides by: inputs, mode, TF32.
  template <class... T, int... Rank>
  Runs& run_for(Shape<Rank> const&... shapes) {
    std::vector<std::int64_t> key{model_.session().training()};
    if constexpr (requires { model_.stream().allow_tf32(); }) key.push_back(model_.stream().allow_tf32());
    auto const append = [&](DType dtype, auto const& shape) {
      key.push_back(static_cast<std::int64_t>(dtype));
      key.push_back(shape.rank);
      for (int axis = 0; axis < shape.rank; ++axis) {
        if (shape[axis] < 0)
          throw Error("Step: axis " + std::to_string(axis) + " of an input has " + std::to_string(shape[axis]) +
                      " elements. Give extents of at least 0.");
        key.push_back(shape[axis]);
      }
    };
    (append(dtype_of_v<T>, shapes), ...);
    for (Runs& runs : runs_)
      if (runs.key == key) return runs;
    runs_.emplace_back();
    runs_.back().key = std::move(key);
    return runs_.back();
  }

  Kind& kind_for(Runs& runs, bool first, bool last) {
    std::vector<int> const& before = model_.session().parameters().writes();
    for (Kind& kind : runs.kinds)
      if (kind.first == first && kind.last == last && kind.before == before) return kind;
    Kind& kind = runs.kinds.emplace_back();
    kind.first = first, kind.last = last, kind.before = before;
    return kind;
  }

  template <class... T, int... Rank>
  auto inputs_of(Runs& runs, Shape<Rank> const&... shapes) {
    if (runs.memory.empty()) {
      std::vector<Storage<B>> memory;
      (memory.emplace_back(model_.session().arena(), static_cast<std::size_t>(shapes.size()) * sizeof(T)), ...);
      runs.memory = std::move(memory);
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
  void take(Runs& runs, Inputs const& inputs, int micro) {
    bool const first = micro == 0, last = micro + 1 == options_.accumulate;
    if (first) model_.session().parameters().forget_gradients();
    Kind& kind = kind_for(runs, first, last);
    auto const work = [&] { std::apply([&](auto const&... input) { run(first, last, input...); }, inputs); };
    if (!replay(kind, work)) {
      ++kind.eager_runs;
      work();
    }
    passes_ = last ? 0 : micro + 1;
  }

  // Launches the kind's graph, which its second run captures; false where it has none.
  template <class Work>
  bool replay(Kind& kind, Work const& work) {
    if constexpr (B::captures) {
      if (!options_.graph || kind.eager_only || kind.eager_runs == 0 || model_.session().recording()) return false;
      if (!kind.graph) capture(kind, work);
      if (!kind.graph) return false;
      kind.graph.launch(model_.stream());
      model_.session().parameters().set_writes(kind.after);
      return true;
    } else {
      return false;
    }
  }

  template <class Work>
  void capture(Kind& kind, Work const& work) {
    try {
      kind.graph = decltype(kind.graph)::capture(model_.stream(), work);
      kind.after = model_.session().parameters().writes();
      if (kind.last) kind.reads = optimizer_.runs();
      ++captures_;
    } catch (Error const& error) {
      model_.session().clear_tape();
      model_.session().parameters().set_writes(kind.before);
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
    session.begin_pass();
    if (first) this->begin_gradients();
    {
      auto const loss = loss_(model_, inputs...);
      cast(model_.stream(), loss.tensor().data(), static_cast<LossType*>(last_loss_.data()), std::int64_t{1});
      this->add_gradients(loss, 1.0 / options_.accumulate);
    }
    if (!last) return;
    this->check_gradients(optimizer_.needs_norm());
    this->update_parameters(optimizer_.options());
  }

  Loss loss_;
  StepOptions options_;
  Arena<B> values_;  // before everything that holds its blocks
  Storage<B> last_loss_;
  std::list<Runs> runs_;
  std::list<typename Capture<B>::InputBuffer> buffers_;
  std::string graph_note_;
  int captures_ = 0;
};

}  // namespace mixprec::inline MIXPREC_ABI
