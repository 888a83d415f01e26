// SPDX-License-Identifier: Apache-2.0
// A network type with memory: parameters on a backend, called on tensors under a policy.
#pragma once

#include <algorithm>  // std::sort, std::adjacent_find
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <mixprec/nn/call.hpp>
#include <mixprec/train/inference.hpp>

namespace mixprec::inline MIXPREC_ABI {

struct ModelOptions {
  std::uint64_t seed = 0;             // of initialisation and dropout
  bool accumulate_gradients = false;  // parameter gradients in float, so that several backward passes can add up
};

/// `Net` under `Policy` on backend `B`. Call it on a tensor; the result is a Value that ops and losses take.
/// Memory for parameters is taken at the first call, when it is known which op reads what in which dtype.
template <class Net, precision_policy Policy, class B>
class Model {
  static_assert(
      requires { typename B::Stream; },
      "mixprec: Model: the backend is not defined. Include <mixprec/cpu.hpp> for Cpu, <mixprec/cuda.hpp> for Cuda.");
  static_assert(
      Policy::low != DType::float64 || !requires { requires !B::computes_float64; },
      "mixprec: Model: this backend has no kernels for float64. Use Fp32, or Fp64 on the Cpu.");

 public:
  using net_type = Net;
  using policy = Policy;
  using backend = B;

  explicit Model(ModelOptions options = {}) : options_(options), session_(options.seed) {
    session_.set_workspace_cap(Policy::workspace_cap);
    Sink sink{{}, *this};
    nn::number(net_, sink);
    session_.set_paths(std::move(sink.paths));
    std::vector<std::string> all = names();
    std::sort(all.begin(), all.end());
    if (auto const twice = std::adjacent_find(all.begin(), all.end()); twice != all.end())
      throw Error("the model has two tensors named \"" + *twice + "\". List each member once in MIXPREC_MODULE.");
  }
  explicit Model(std::uint64_t seed) : Model(ModelOptions{.seed = seed}) {}

  /// The network's output for a batch in the layout of the tensor's rank. Errors: Error for extents that do not fit,
  /// with the layer and both values; nothing has run then.
  template <class T, int Rank>
  auto operator()(Tensor<B, T, Rank> const& input) {
    if (!session_.parameters().laid_out()) lay_out<T>(input.shape());
    Value<B, T, Rank, dynamic_channels, Policy> const x(session_, input, {}, {});
    return nn::call<Policy>(net_, x);
  }

  Session<B>& session() { return session_; }
  typename B::Stream& stream() { return session_.stream(); }
  Net const& net() const { return net_; }
  ModelOptions const& options() const { return options_; }

  /// torch.nn.Module.train(bool): batch norm on batch or running statistics, dropout on or off.
  void set_training(bool training) { session_.set_training(training); }
  /// A copy for inference: weights as ops read them, batch norms folded. Later steps do not change it. Sync: waits.
  [[nodiscard]] Inference<Net, Policy, B> eval(InferenceOptions options = {}) {
    return Inference<Net, Policy, B>(*this, options);
  }

  /// Uninitialised memory for an input; images are (N,C,H,W), stored NHWC.
  template <class T, int Rank>
  Tensor<B, T, Rank> tensor(Shape<Rank> shape) {
    return session_.template allocate<T>(shape);
  }

  /// Names of parameters and buffers, as in state_dict.
  std::vector<std::string> names() {
    std::vector<std::string> result;
    for (ParameterEntry const& entry : session_.parameters().entries()) result.push_back(entry.name);
    for (auto const& buffer : session_.buffers()) result.push_back(buffer.name);
    return result;
  }
  /// Extents of a parameter or buffer in logical order. Errors: Error for an unknown name.
  std::vector<std::int64_t> shape_of(std::string_view name) {
    auto const [is_parameter, id] = find(name);
    if (!is_parameter) return {session_.buffers()[id].size};
    ParameterEntry const& entry = session_.parameters().entries()[id];
    return {entry.extents, entry.extents + entry.rank};
  }
  /// In what a parameter (its master) or buffer is stored. Errors: Error for an unknown name.
  DType dtype_of(std::string_view name) {
    auto const [is_parameter, id] = find(name);
    return is_parameter ? session_.parameters().entries()[id].master : session_.buffers()[id].dtype;
  }
  /// Values in PyTorch's order (weights OIHW). Sync: waits. Errors: Error for an unknown name.
  std::vector<double> values(std::string_view name) {
    auto const [is_parameter, id] = find(name);
    return is_parameter ? session_.parameters().values(stream(), static_cast<int>(id))
                        : session_.buffer_values(static_cast<int>(id));
  }
  /// Sets a parameter (master and working copy) or buffer. Errors: Error for an unknown name or another count.
  void assign(std::string_view name, std::vector<double> const& values) {
    auto const [is_parameter, id] = find(name);
    if (is_parameter) {
      session_.parameters().assign(stream(), static_cast<int>(id), values);
    } else {
      session_.assign_buffer(static_cast<int>(id), values);
    }
  }
  /// A parameter's gradient of the last backward pass, in PyTorch's order and still multiplied by the loss scale.
  std::vector<double> gradient(std::string_view name) {
    auto const [is_parameter, id] = find(name);
    if (!is_parameter) throw Error(std::string(name) + ": a buffer has no gradient. Ask for a parameter.");
    return session_.parameters().gradient(stream(), static_cast<int>(id));
  }

 private:
  struct Sink : nn::ModulePaths {
    Model& model;

    template <int Rank>
    int parameter(nn::Name name, Parameter<Rank> const& parameter, Initial initial) {
      ParameterEntry entry;
      entry.name = this->path_of(name);
      entry.rank = Rank;
      entry.kind = parameter.kind;
      entry.frozen = parameter.frozen;
      entry.master = Policy::parameter(parameter.kind);
      for (int axis = 0; axis < Rank; ++axis) entry.extents[axis] = parameter.shape[axis];
      return model.session_.parameters().add(std::move(entry), initial, model.options_.seed);
    }
    int buffer(nn::Name name, Buffer const& buffer) {
      return model.session_.add_buffer(this->path_of(name), buffer.size, buffer.initial, accumulator_of(Policy::low));
    }
  };

  template <class T, int Rank>
  void lay_out(Shape<Rank> shape) {
    Trace trace;
    {
      Value<Meta, T, Rank, dynamic_channels, Policy> const x(trace, trace.template allocate<T>(shape), {}, {});
      (void)nn::call<Policy>(net_, x);
    }
    session_.require_fit(trace);
    session_.parameters().lay_out(session_.arena(), stream(), trace.uses(), options_.accumulate_gradients);
  }

  std::pair<bool, std::size_t> find(std::string_view name) {
    auto const& entries = session_.parameters().entries();
    for (std::size_t id = 0; id < entries.size(); ++id)
      if (entries[id].name == name) return {true, id};
    auto const& buffers = session_.buffers();
    for (std::size_t id = 0; id < buffers.size(); ++id)
      if (buffers[id].name == name) return {false, id};
    throw Error("the model has no parameter or buffer named \"" + std::string(name) + "\". names() lists them all.");
  }

  ModelOptions options_;
  Net net_{};
  Session<B> session_;
};

/// While it lives, ops on the model's values record nothing for backward. torch.no_grad.
template <class Net, class Policy, class B>
class NoGrad {
 public:
  explicit NoGrad(Model<Net, Policy, B>& model) : session_(model.session()), before_(session_.grad_enabled()) {
    session_.set_grad_enabled(false);
  }
  NoGrad(NoGrad const&) = delete;
  NoGrad& operator=(NoGrad const&) = delete;
  ~NoGrad() { session_.set_grad_enabled(before_); }

 private:
  Session<B>& session_;
  bool before_;
};

}  // namespace mixprec::inline MIXPREC_ABI
