// SPDX-License-Identifier: Apache-2.0
// The run-time session: stream, arena, parameters and tape of one model. Its twin for the compiler is trace.hpp.
#pragma once

#include <memory>
#include <string>
#include <type_traits>
#include <vector>

#include <mixprec/autograd/forward_state.hpp>
#include <mixprec/autograd/parameter_store.hpp>
#include <mixprec/autograd/row.hpp>
#include <mixprec/autograd/trace.hpp>
#include <mixprec/autograd/value.hpp>

namespace mixprec::inline MIXPREC_ABI {

/// One op that backward will visit.
template <class B>
struct TapeNode {
  virtual ~TapeNode() = default;
  virtual void backward(Session<B>& session) = 0;
};

/// What a forward and backward pass on backend `B` needs. Not thread-safe; one session, one thread.
template <class B>
class Session {
 public:
  using Stream = typename B::Stream;

  explicit Session(std::uint64_t seed) : arena_(stream_), seed_(arena_, sizeof(std::uint64_t)) {
    B::copy_from_host(stream_, seed_.data(), &seed, sizeof(seed));
  }
  Session(Session const&) = delete;
  Session& operator=(Session const&) = delete;
  ~Session() { clear_tape(); }

  Stream& stream() { return stream_; }
  /// Bytes that a convolution may take beside its tensors, on backends that give it any.
  void set_workspace_cap(std::size_t bytes) {
    if constexpr (requires { stream_.set_workspace_cap(bytes); }) stream_.set_workspace_cap(bytes);
  }
  Arena<B>& arena() { return arena_; }
  /// Values, gradients and kept tensors come from `arena` from now on; null: from the session's own.
  void use_arena(Arena<B>* arena) { values_ = arena != nullptr ? arena : &arena_; }
  ParameterStore<B>& parameters() { return parameters_; }

  bool training() const { return state_.training; }
  void set_training(bool training) { state_.training = training; }
  bool grad_enabled() const { return state_.grad_enabled; }
  void set_grad_enabled(bool enabled) { state_.grad_enabled = enabled; }
  bool replaying() const { return state_.replaying; }
  ForwardState const& forward_state() const { return state_; }
  void set_forward_state(ForwardState const& state) { state_ = state; }

  /// Rows of the forward passes since the recording began.
  bool recording() const { return recording_ && !state_.replaying; }
  void start_recording() { recording_ = true, rows_.clear(); }
  std::vector<PlanRow> stop_recording() {
    recording_ = false;
    return std::move(rows_);
  }
  void record(PlanRow const& row) { rows_.push_back(row); }
  /// Adds bytes that something other than the last row's op keeps.
  void record_kept(std::int64_t bytes) {
    if (!rows_.empty()) rows_.back().kept_bytes += bytes;
  }

  /// Module paths by module index, for messages and plans.
  void set_paths(std::vector<std::string> paths) { paths_ = std::move(paths); }
  std::vector<std::string> const& paths() const { return paths_; }

  /// Forgets the last step's tape and gradients and moves the dropout generator on. Call before each forward pass
  /// whose gradients are not added to the last one's. Sync: none.
  void begin_step() {
    parameters_.forget_gradients();
    begin_pass();
  }
  /// Forgets the last pass's tape and moves the dropout generator on; gradients stay, so that this pass's add to them.
  /// Sync: none.
  void begin_pass() {
    clear_tape();
    state_.random_calls = 0;
    advance_seed(stream_, static_cast<std::uint64_t*>(seed_.data()));
  }

  /// The pass's 64-bit key for counter-based random numbers, in backend memory, and the next call's number.
  std::uint64_t const* seed() const { return static_cast<std::uint64_t const*>(seed_.data()); }
  std::uint64_t next_random_call() { return state_.random_calls++; }
  /// Both on the host, for checkpoints. Sync: waits.
  struct RandomState {
    std::uint64_t seed = 0, calls = 0;
  };
  RandomState random_state() {
    RandomState random{0, state_.random_calls};
    B::copy_to_host(stream_, &random.seed, seed_.data(), sizeof(random.seed));
    return random;
  }
  void set_random_state(RandomState const& random) {
    B::copy_from_host(stream_, seed_.data(), &random.seed, sizeof(random.seed));
    state_.random_calls = random.calls;
  }

  template <class T, int Rank>
  Tensor<B, T, Rank> allocate(Shape<Rank> shape) {
    return Tensor<B, T, Rank>(*values_, shape);
  }

  template <class T, int Rank>
  Tensor<B, T, Rank> parameter(Parameter<Rank> const& parameter) {
    ParameterEntry const& entry = parameters_.entries()[static_cast<std::size_t>(parameter.id)];
    if (entry.segment >= 0 && dtype_of_v<T> == entry.master)
      return {parameters_.segment_of(parameter.id).master, static_cast<T*>(parameters_.master(parameter.id)),
              parameter.shape};
    if (entry.segment < 0 || dtype_of_v<T> != entry.working) {
      throw Error(entry.name + ": read as " + name_of(dtype_of_v<T>) + ", but " +
                  (entry.segment < 0 ? "the model's first call, which lays its memory out, did not read it"
                                     : std::string("its memory holds ") + name_of(entry.master) + " and " +
                                           name_of(entry.working) + ", as the model's first call read it") +
                  ". Call the model with inputs of the dtype of its first call, and read a parameter in one dtype "
                  "beside the masters'.");
    }
    return {parameters_.segment_of(parameter.id).working, static_cast<T*>(parameters_.working(parameter.id)),
            parameter.shape};
  }

  /// Adds a buffer before the first forward pass; returns its id.
  int add_buffer(std::string name, std::int64_t size, double initial, DType dtype) {
    Storage<B> storage(arena_, static_cast<std::size_t>(size) * size_of(dtype));
    storage.keep();
    buffers_.push_back({std::move(name), size, dtype, std::move(storage)});
    int const id = static_cast<int>(buffers_.size()) - 1;
    assign_buffer(id, std::vector<double>(static_cast<std::size_t>(size), initial));
    return id;
  }
  template <class A>
  A* buffer(Buffer const& buffer) {
    return static_cast<A*>(buffers_[static_cast<std::size_t>(buffer.id)].storage.data());
  }
  struct BufferEntry {
    std::string name;
    std::int64_t size;
    DType dtype;
    Storage<B> storage;
  };
  std::vector<BufferEntry> const& buffers() const { return buffers_; }
  void assign_buffer(int id, std::vector<double> const& values) {
    BufferEntry const& entry = buffers_[static_cast<std::size_t>(id)];
    if (static_cast<std::int64_t>(values.size()) != entry.size)
      throw Error(entry.name + ": " + std::to_string(values.size()) + " values for " + std::to_string(entry.size) +
                  " elements. Give one value for each element.");
    if (entry.dtype == DType::float64) {
      B::copy_from_host(stream_, entry.storage.data(), values.data(), values.size() * sizeof(double));
    } else {
      std::vector<float> const narrowed(values.begin(), values.end());
      B::copy_from_host(stream_, entry.storage.data(), narrowed.data(), narrowed.size() * sizeof(float));
    }
  }
  std::vector<double> buffer_values(int id) {
    BufferEntry const& entry = buffers_[static_cast<std::size_t>(id)];
    if (entry.dtype == DType::float64) {
      std::vector<double> values(static_cast<std::size_t>(entry.size));
      B::copy_to_host(stream_, values.data(), entry.storage.data(), values.size() * sizeof(double));
      return values;
    }
    std::vector<float> values(static_cast<std::size_t>(entry.size));
    B::copy_to_host(stream_, values.data(), entry.storage.data(), values.size() * sizeof(float));
    return {values.begin(), values.end()};
  }

  [[noreturn]] void mismatch(Place place, char const* op, Misfit const& misfit) {
    std::string at = path_of(place, op);
    if (place.own) at += (at.empty() ? "" : ": ") + std::string(op);  // the path of a function ends with its op already
    throw Error(at + ": " + misfit.mismatch + " do not fit: expected " + std::to_string(misfit.expected) +
                ", received " + std::to_string(misfit.received) + ". " + misfit.remedy);
  }
  [[noreturn]] void unlisted(UnlistedParameter const& parameter) {
    Place const at = parameter.operand;
    std::string const path = at.module < 0 ? "" : paths_[static_cast<std::size_t>(at.module)];
    std::string text = std::string(parameter.op) + (at.inside ? ", called in " : ", called on the result of ") +
                       (path.empty() ? "the model" : path) + ": a parameter of shape (";
    for (int axis = 0; axis < parameter.rank; ++axis)
      text += (axis > 0 ? ", " : "") + std::to_string(parameter.extents[axis]);
    throw Error(text +
                ") is no part of the model: it, or the module that holds it, is missing from MIXPREC_MODULE(...). List "
                "every member there.");
  }
  /// Errors: Error for what the trace of a model on this session has met and could not run.
  void require_fit(Session<Meta> const& trace) {
    if (trace.unlisted().op != nullptr) unlisted(trace.unlisted());
    if (!trace.mismatch().fits()) mismatch(trace.mismatch().place, trace.mismatch().op, trace.mismatch());
  }

  /// "layer1.0.conv2", or "layer1.0.relu" for a function called in layer1.0.
  std::string path_of(Place place, char const* op) const {
    std::string path = place.module < 0 ? "" : paths_[static_cast<std::size_t>(place.module)];
    if (place.own) return path;
    if (!place.inside) {
      std::size_t const dot = path.rfind('.');
      path = dot == std::string::npos ? "" : path.substr(0, dot);
    }
    return path.empty() ? op : path + "." + op;
  }

  // The tape.
  std::uint64_t tape() const { return tape_; }  // its number
  GradientSlot new_slot() {
    gradients_.emplace_back();
    return {GradientSlot::Kind::value, static_cast<int>(gradients_.size()) - 1, tape_};
  }
  void push_node(std::unique_ptr<TapeNode<B>> node) { nodes_.push_back(std::move(node)); }

  /// Takes the gradient that has arrived in a slot; empty where none has.
  template <class T, int Rank>
  Tensor<B, T, Rank> take_gradient(GradientSlot slot, Shape<Rank> shape) {
    Storage<B> storage = std::exchange(arrived(slot), {});
    auto* const data = static_cast<T*>(storage.data());
    return {std::move(storage), data, shape};
  }

  /// Hands a gradient on to another slot of the same value; adds where one has arrived there already.
  template <class T, int Rank>
  void give_gradient(GradientSlot slot, Tensor<B, T, Rank> const& gradient) {
    if (!slot.needed()) return;
    Storage<B>& to = arrived(slot);
    if (!to) {
      to = gradient.storage();
    } else {
      accumulate(stream_, gradient.data(), static_cast<T*>(to.data()), gradient.size());
    }
  }

  /// Memory for a gradient that a node is about to write: the slot's own where it is the first, else a temporary.
  /// Errors: Error for a value of an emptied tape, and for a parameter whose gradients would have to add up.
  template <class T, int Rank>
  Tensor<B, T, Rank> begin_gradient(GradientSlot slot, Shape<Rank> shape) {
    if (!slot.needed()) return {{}, nullptr, shape};
    if (slot.kind == GradientSlot::Kind::value) {
      Storage<B>& gradient = arrived(slot);
      Tensor<B, T, Rank> tensor(*values_, shape);
      if (!gradient) gradient = tensor.storage();
      return tensor;
    }
    parameters_.require_room(slot.index);
    if (gradient_is_direct<T>(slot.index)) {
      return {parameters_.segment_of(slot.index).gradient, static_cast<T*>(parameters_.gradient_address(slot.index)),
              shape};
    }
    return Tensor<B, T, Rank>(*values_, shape);
  }

  /// Adds a temporary of begin_gradient to what it belongs to.
  template <class T, int Rank>
  void end_gradient(GradientSlot slot, Tensor<B, T, Rank> const& written) {
    if (!slot.needed()) return;
    if (slot.kind == GradientSlot::Kind::value) {
      Storage<B> const& gradient = arrived(slot);
      if (gradient.data() != written.data())
        accumulate(stream_, written.data(), static_cast<T*>(gradient.data()), written.size());
      return;
    }
    if (!gradient_is_direct<T>(slot.index)) {
      // What is summed is stored in the accumulator's dtype (ParameterStore::lay_out).
      auto* const gradient = static_cast<accumulator_t<T>*>(parameters_.gradient_address(slot.index));
      if (parameters_.written(slot.index)) {
        accumulate(stream_, written.data(), gradient, written.size());
      } else {
        cast(stream_, written.data(), gradient, written.size());
      }
    }
    parameters_.count_write(slot.index);
  }

  /// Runs the tape from `loss` and empties it; each node frees what it kept as soon as it has run. The gradient starts
  /// from *loss_scale (float, in backend memory), or from 1 where that is null, times `factor`. Sync: none.
  /// Errors: Error for a loss without a gradient or of an emptied tape, before anything is changed; Error on the way,
  /// as begin_gradient says: the tape is then empty too, and the gradients are incomplete until the next begin_step.
  template <class T, class Policy>
  void backward(Value<B, T, 0, dynamic_channels, Policy> const& loss, float const* loss_scale = nullptr,
                double factor = 1.0) {
    if (!loss.requires_grad())
      throw Error("backward: the loss depends on no parameter. Check frozen modules and NoGrad.");
    if (loss.slot().tape != tape_) {
      throw Error(
          "backward: the loss is older than the last backward or begin_step, which emptied the tape. Run the forward "
          "pass again.");
    }
    struct Clear {
      Session& session;
      ~Clear() { session.clear_tape(); }
    } const clear_at_the_end{*this};
    {
      // Let go of before the nodes run: from then on the gradient lives as long as the node that takes it.
      Tensor<B, T, 0> const seed = begin_gradient<T>(loss.slot(), Shape<0>{});
      if (loss_scale == nullptr) {
        fill(stream_, seed.data(), factor, std::int64_t{1});
      } else {
        scale(stream_, loss_scale, factor, seed.data(), std::int64_t{1});
      }
    }
    while (!nodes_.empty()) {
      std::unique_ptr<TapeNode<B>> const node = std::move(nodes_.back());
      nodes_.pop_back();
      node->backward(*this);
    }
  }

  /// Forgets the forward passes so far; their values can no longer be differentiated.
  void clear_tape() {
    while (!nodes_.empty()) nodes_.pop_back();
    gradients_.clear();
    ++tape_;
  }

 private:
  /// The gradient that has arrived at a value of this tape.
  Storage<B>& arrived(GradientSlot slot) {
    if (slot.tape != tape_) {
      throw Error(
          "backward: the loss depends on a value that is older than the last backward or begin_step, which emptied the "
          "tape. Run the whole forward pass again, or use value.detach().");
    }
    return gradients_[static_cast<std::size_t>(slot.index)];
  }
  template <class T>
  bool gradient_is_direct(int id) const {
    return !parameters_.written(id) && parameters_.segment_of(id).gradient_dtype == dtype_of_v<T>;
  }

  Stream stream_;
  Arena<B> arena_;
  Arena<B>* values_ = &arena_;
  Storage<B> seed_;
  ParameterStore<B> parameters_;
  std::vector<BufferEntry> buffers_;
  std::vector<std::unique_ptr<TapeNode<B>>> nodes_;
  std::vector<Storage<B>> gradients_;
  std::uint64_t tape_ = 0;  // the number of the tape that grows now
  std::vector<PlanRow> rows_;
  std::vector<std::string> paths_;
  ForwardState state_;
  bool recording_ = false;
};

}  // namespace mixprec::inline MIXPREC_ABI
