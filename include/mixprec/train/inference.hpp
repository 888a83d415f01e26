// SPDX-License-Identifier: Apache-2.0
// A trained model as something to run: weights in the dtype that ops read, batch norms folded into the layers before
// them, nothing recorded.
#pragma once

#include <algorithm>  // std::max
#include <cmath>      // std::sqrt
#include <cstdint>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include <mixprec/nn/call.hpp>

namespace mixprec::inline MIXPREC_ABI {

struct InferenceOptions {
  bool fold = true;  // batch norms into the convolution or linear layer before them
};

namespace detail {

/// A batch norm that went into the layer before it, as the ids of parameters and, for the statistics, of buffers.
struct FoldedNorm {
  int layer = -1, norm = -1;  // module indices
  int layer_weight = -1, layer_bias = -1, weight = -1, bias = -1, mean = -1, var = -1;
  bool had_bias = false;
  double eps = 0;
};

template <class M>
concept foldable_norm = requires(M& part) {
  part.folded;
  part.state.running_mean.id;
};
template <class M>
concept foldable_layer = requires(M& part) {
  part.weight.id;
  part.bias.id;
}
&&!foldable_norm<M>;

/// Calls visit(part) for every module, parents first, and visit(buffer) for every buffer.
template <class Visit>
class ModuleWalk {
 public:
  explicit ModuleWalk(Visit visit) : visit_(std::move(visit)) {}
  template <class M>
  void walk(M& part) {
    visit_(part);
    M::members(part, *this);
  }
  template <class M>
  void child(char const*, M& part) {
    walk(part);
  }
  template <int Rank>
  void child(char const*, Parameter<Rank>&) {}
  template <int Rank>
  void parameter(char const*, Parameter<Rank>&, Initial) {}
  void buffer(char const*, Buffer& buffer) { visit_(buffer); }

 private:
  Visit visit_;
};

}  // namespace detail

/// `Net` for inference under `Policy` on `B`: made by Model::eval, called on tensors. It holds one copy of each weight,
/// in the dtype in which ops read it, and its own stream; a batch norm that alone reads the result of a convolution or
/// linear layer is part of that layer. An add and a relu behind it still run. Steps that the model takes later change
/// nothing here; refresh() takes the model's weights again.
/// Precision: folded weights are computed in double and rounded once; results agree with the model's own evaluation
/// within the dtype's roundings.
template <class Net, precision_policy Policy, class B>
class Inference {
 public:
  using net_type = Net;
  using policy = Policy;
  using backend = B;

  /// `parameters` are used in place of the model's, by their ids; empty: the model's. Sync: waits for the model's
  /// stream.
  template <class M>
  explicit Inference(M& model, InferenceOptions options = {}, std::vector<std::vector<double>> parameters = {})
      : options_(options), net_(model.net()), session_(model.options().seed) {
    session_.set_workspace_cap(Policy::workspace_cap);
    session_.set_training(false);
    session_.set_grad_enabled(false);
    session_.set_paths(model.session().paths());
    for (ParameterEntry const& entry : model.session().parameters().entries())
      parameters_.push_back(description(entry));
    for (auto const& buffer : model.session().buffers()) buffers_.push_back({buffer.name, buffer.size, buffer.dtype});
    read(model);
    if (!parameters.empty()) parameter_values_ = std::move(parameters);
  }

  /// The output for a batch. Input: complete when it is called (on CUDA: made by tensor() and written on stream(), or
  /// waited for). The result belongs to this object's arena. Memory is taken at the first call.
  /// Errors: Error for extents that do not fit, with the layer and both values; nothing has run then.
  template <class T, int Rank>
  auto operator()(Tensor<B, T, Rank> const& input) & {
    if (!session_.parameters().laid_out()) lay_out<T>(input.shape());
    Value<B, T, Rank, dynamic_channels, Running> const x(session_, input, {}, {});
    return nn::call<Running>(net_, x).tensor();
  }
  /// Not for a temporary, whose arena ends before its result is read: a compile error that says so.
  template <class T, int Rank>
  auto operator()(Tensor<B, T, Rank> const&) && {
    static_assert(sizeof(T) == 0,
                  "mixprec: Inference: the result would outlive its memory, which belongs to this temporary. Write "
                  "'auto inference = net.eval();' and then 'inference(x)'.");
  }

  /// A result as a value without a gradient, for ops behind the network: argmax(resize(net.value(logits), size)).
  template <class T, int Rank>
  Value<B, T, Rank, dynamic_channels, Policy> value(Tensor<B, T, Rank> const& result) & {
    return {session_, result, {}, {}};
  }

  /// Takes the weights and buffers that the model has now. Sync: waits for both streams. Errors: Error where a folded
  /// weight overflows its dtype; the old weights stay.
  template <class M>
  void refresh(M& model) {
    static_assert(std::is_same_v<typename M::net_type, Net>,
                  "mixprec: Inference: refresh takes a model of the same network. Make another one by eval().");
    read(model);
    if (!session_.parameters().laid_out()) return;
    for (detail::FoldedNorm const& folded : folded_) {
      DType const dtype = session_.parameters().entries()[static_cast<std::size_t>(folded.layer_weight)].working;
      if (double const value = overflowing(folded, dtype); value != 0) {
        throw Error(path_of(folded.layer) + ": with " + path_of(folded.norm) + " folded in, a weight is " +
                    std::to_string(value) + ", which " + name_of(dtype) +
                    " cannot hold. Make another object by eval(), which leaves such batch norms as they are.");
      }
    }
    write();
  }

  /// Uninitialised memory for an input; images are (N,C,H,W), stored NHWC.
  template <class T, int Rank>
  Tensor<B, T, Rank> tensor(Shape<Rank> shape) {
    return session_.template allocate<T>(shape);
  }
  typename B::Stream& stream() { return session_.stream(); }
  Session<B>& session() { return session_; }

  /// Paths of the batch norms that are part of the layer before them; empty before the first call.
  std::vector<std::string> folded_norms() const {
    std::vector<std::string> paths;
    for (detail::FoldedNorm const& folded : folded_) paths.push_back(path_of(folded.norm));
    return paths;
  }

 private:
  using Running = ForInference<Policy>;
  using Values = std::vector<double>;
  static constexpr int unplaced = -1;
  struct BufferSlot {
    std::string name;
    std::int64_t size;
    DType dtype;
    int id = unplaced;  // in the session; below `unplaced`: left out
  };

  std::string const& path_of(int module) const { return session_.paths()[static_cast<std::size_t>(module)]; }

  // Frozen parameters have no gradients; that is all that differs from the model's.
  static ParameterEntry description(ParameterEntry const& of) {
    ParameterEntry entry;
    entry.name = of.name;
    entry.rank = of.rank;
    for (int axis = 0; axis < of.rank; ++axis) entry.extents[axis] = of.extents[axis];
    entry.kind = of.kind;
    entry.frozen = true;
    return entry;
  }

  template <class M>
  void read(M& model) {
    auto& from = model.session();
    parameter_values_.clear();
    buffer_values_.clear();
    for (std::size_t id = 0; id < from.parameters().entries().size(); ++id)
      parameter_values_.push_back(from.parameters().values(from.stream(), static_cast<int>(id)));
    for (std::size_t id = 0; id < from.buffers().size(); ++id)
      buffer_values_.push_back(from.buffer_values(static_cast<int>(id)));
  }

  template <class Visit>
  void for_each_module(Visit visit) {
    detail::ModuleWalk<Visit>(std::move(visit)).walk(net_);
  }

  template <class T, int Rank>
  void trace(nn::FoldingTrace& into, Shape<Rank> shape) {
    Value<Meta, T, Rank, dynamic_channels, Running> const x(into, into.template allocate<T>(shape), {}, {});
    (void)nn::call<Running>(net_, x);
    session_.require_fit(into);
  }

  template <class T, int Rank>
  void lay_out(Shape<Rank> shape) {
    nn::FoldingTrace unfolded, folded;
    trace<T>(unfolded, shape);
    if (options_.fold) choose(unfolded);
    trace<T>(folded, shape);
    take_buffers(unfolded);
    auto& store = session_.parameters();
    for (std::size_t id = 0; id < parameters_.size(); ++id) {
      ParameterEntry entry = std::move(parameters_[id]);
      if (static_cast<int>(id) < folded.uses().size()) entry.master = folded.uses()[static_cast<int>(id)].dtype;
      store.add(std::move(entry), Initial{}, 0);
    }
    parameters_.clear();
    store.lay_out(session_.arena(), session_.stream(), folded.uses(), false);
    write();
  }

  // Marks what is folded in the network's modules, and gives layers without a bias one.
  void choose(nn::FoldingTrace const& trace) {
    for (auto const& pair : trace.pairs()) {
      detail::FoldedNorm folded{.layer = pair.layer, .norm = pair.norm};
      for_each_module([&](auto& part) { describe(folded, part); });
      auto const once = [&](int parameter) { return trace.uses()[parameter].count == 1; };
      bool const shared =
          !once(folded.layer_weight) || (folded.had_bias && !once(folded.layer_bias)) || !once(folded.weight);
      if (!shared && overflowing(folded, trace.uses()[folded.layer_weight].dtype) == 0) folded_.push_back(folded);
    }
    for (detail::FoldedNorm& folded : folded_) {
      for_each_module([&](auto& part) { mark(folded, part); });
    }
  }
  template <class M>
  static void describe(detail::FoldedNorm& folded, M& part) {
    if constexpr (detail::foldable_norm<M>) {
      if (part.module_id != folded.norm) return;
      folded.weight = part.weight.id, folded.bias = part.bias.id;
      folded.mean = part.state.running_mean.id, folded.var = part.state.running_var.id;
      folded.eps = part.state.eps;
    } else if constexpr (detail::foldable_layer<M>) {
      if (part.module_id != folded.layer) return;
      folded.layer_weight = part.weight.id, folded.layer_bias = part.bias.id;
      folded.had_bias = part.bias.id >= 0;
    }
  }
  template <class M>
  void mark(detail::FoldedNorm& folded, M& part) {
    if constexpr (detail::foldable_norm<M>) {
      if (part.module_id == folded.norm) part.folded = true;
    } else if constexpr (detail::foldable_layer<M>) {
      if (part.module_id != folded.layer || folded.had_bias) return;
      ParameterEntry entry;
      entry.name = path_of(folded.layer) + ".bias";
      entry.rank = 1;
      entry.extents[0] = part.bias.shape[0];
      entry.kind = ParameterKind::bias;
      entry.frozen = true;
      folded.layer_bias = part.bias.id = static_cast<int>(parameters_.size());
      parameters_.push_back(std::move(entry));
    }
  }

  // Buffers of batch norms that were folded, or that the network never calls, are left out. What remains of the folded
  // ones shares a zero and a one for each channel.
  void take_buffers(nn::FoldingTrace const& trace) {
    constexpr int zeros = -2, ones = -3;
    std::int64_t channels = 0;
    for_each_module([&]<class M>(M& part) {
      if constexpr (detail::foldable_norm<M>) {
        if (!part.folded && trace.norm_runs(part.module_id) > 0) return;
        if (part.folded) channels = std::max(channels, part.state.running_mean.size);
        buffers_[static_cast<std::size_t>(part.state.running_mean.id)].id = zeros;
        buffers_[static_cast<std::size_t>(part.state.running_var.id)].id = ones;
      }
    });
    constexpr DType dtype = accumulator_of(Policy::low);
    int const zeros_id = channels == 0 ? -1 : session_.add_buffer("zeros", channels, 0, dtype);
    int const ones_id = channels == 0 ? -1 : session_.add_buffer("ones", channels, 1, dtype);
    for_each_module([&]<class M>(M& part) {
      if constexpr (std::is_same_v<M, Buffer>) {
        BufferSlot& slot = buffers_[static_cast<std::size_t>(part.id)];
        if (slot.id == unplaced) slot.id = session_.add_buffer(slot.name, slot.size, 0, slot.dtype);
        part.id = slot.id == zeros ? zeros_id : slot.id == ones ? ones_id : slot.id;
      }
    });
  }

  struct Folded {
    Values weight, bias;
  };
  // w' = w * gamma / sqrt(var + eps) for each output channel, b' = (b - mean) * gamma / sqrt(var + eps) + beta.
  Folded fold(detail::FoldedNorm const& of) const {
    auto const value = [&](int id) -> Values const& { return parameter_values_[static_cast<std::size_t>(id)]; };
    auto const statistic = [&](int id) -> Values const& { return buffer_values_[static_cast<std::size_t>(id)]; };
    Folded folded{value(of.layer_weight), value(of.bias)};
    std::size_t const channels = folded.bias.size(), fan_in = folded.weight.size() / channels;
    for (std::size_t channel = 0; channel < channels; ++channel) {
      double const scale = value(of.weight)[channel] / std::sqrt(statistic(of.var)[channel] + of.eps);
      double const bias = of.had_bias ? value(of.layer_bias)[channel] : 0;
      folded.bias[channel] += (bias - statistic(of.mean)[channel]) * scale;
      for (std::size_t at = channel * fan_in; at < (channel + 1) * fan_in; ++at) folded.weight[at] *= scale;
    }
    return folded;
  }
  // The first finite value that is too large for the dtype of the layer's weights; 0 where all fit.
  double overflowing(detail::FoldedNorm const& of, DType dtype) const {
    Folded const folded = fold(of);
    for (Values const* const values : {&folded.weight, &folded.bias})
      for (double const value : *values)
        if (std::isfinite(value) && std::abs(value) > traits_of(dtype).max) return value;
    return 0;
  }

  void write() {
    auto& store = session_.parameters();
    auto& stream = session_.stream();
    parameter_values_.resize(store.entries().size());
    for (detail::FoldedNorm const& of : folded_) {
      Folded folded = fold(of);
      parameter_values_[static_cast<std::size_t>(of.layer_weight)] = std::move(folded.weight);
      parameter_values_[static_cast<std::size_t>(of.layer_bias)] = std::move(folded.bias);
    }
    for (std::size_t id = 0; id < store.entries().size(); ++id)
      if (store.entries()[id].segment >= 0) store.assign(stream, static_cast<int>(id), parameter_values_[id]);
    for (std::size_t id = 0; id < buffers_.size(); ++id)
      if (buffers_[id].id >= 0) session_.assign_buffer(buffers_[id].id, buffer_values_[id]);
    parameter_values_ = {};
    buffer_values_ = {};
  }

  InferenceOptions options_;
  Net net_;
  Session<B> session_;
  std::vector<ParameterEntry> parameters_;                // until the layout
  std::vector<BufferSlot> buffers_;                       // of the model, by its ids
  std::vector<Values> parameter_values_, buffer_values_;  // of the model, until they are written
  std::vector<detail::FoldedNorm> folded_;
};

}  // namespace mixprec::inline MIXPREC_ABI
