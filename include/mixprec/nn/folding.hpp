// SPDX-License-Identifier: Apache-2.0
// Which batch norms can go into the weights of the layer before them: a trace of the inference pass that counts who
// reads what, without a change to the types that training uses.
#pragma once

#include <vector>

#include <mixprec/ops/pending_norm.hpp>

namespace mixprec::inline MIXPREC_ABI {

/// `Policy` in an inference pass: the same dtypes, and layers look whether they were folded.
template <class Policy>
struct ForInference : Policy {
  static constexpr bool folds_norms = true;
};

namespace detail {
// The mark stays outermost, so that a region of float and the way out of it meet the types that they know.
template <class Policy>
struct ForceRegion<ForInference<Policy>> {
  using type = ForInference<typename ForceRegion<Policy>::type>;
};
template <class Policy>
struct AutoRegion<ForInference<Policy>> {
  using type = ForInference<typename AutoRegion<Policy>::type>;
};
}  // namespace detail

namespace nn {

/// The trace of an inference pass. The values of convolutions and linear layers in it are Watched.
class FoldingTrace : public Session<Meta> {
 public:
  FoldingTrace() {
    set_training(false);
    set_grad_enabled(false);
  }

  /// A layer and the batch norm that alone reads its result, as module indices.
  struct Pair {
    int layer, norm;
  };
  /// Pairs in which both modules run once: what is run twice would need its weights folded twice.
  std::vector<Pair> pairs() const {
    std::vector<Pair> found;
    for (Result const& result : results_)
      if (result.readers == 1 && result.norm >= 0 && runs(result.layer) == 1 && norm_runs(result.norm) == 1)
        found.push_back({result.layer, result.norm});
    return found;
  }
  /// How often a batch norm was called.
  int norm_runs(int norm) const {
    int count = 0;
    for (int const run : norms_) count += run == norm ? 1 : 0;
    return count;
  }

  // Called by layers.
  int watch(int layer) {
    results_.push_back({layer});
    return static_cast<int>(results_.size()) - 1;
  }
  void note_reader(int result) { ++results_[static_cast<std::size_t>(result)].readers; }
  void note_norm(int norm) { norms_.push_back(norm); }
  void note_norm_reads(int result, int norm) {
    note_reader(result);
    results_[static_cast<std::size_t>(result)].norm = norm;
  }

 private:
  struct Result {
    int layer, norm = -1, readers = 0;
  };
  int runs(int layer) const {
    int count = 0;
    for (Result const& result : results_) count += result.layer == layer ? 1 : 0;
    return count;
  }
  std::vector<Result> results_;
  std::vector<int> norms_;
};

/// A layer's result in a FoldingTrace: the value, and a count of the ops that read it. Copies count together.
template <any_value V>
class Watched {
 public:
  using backend = Meta;
  using dtype = typename V::dtype;
  using policy = typename V::policy;
  static constexpr int rank = V::rank;
  static constexpr int channels = V::channels;

  Watched(V value, int result) : value_(std::move(value)), result_(result) {}

  /// The value without the watch. Whoever asks for it, or for the memory, has read it.
  V const& value() const {
    trace().note_reader(result_);
    return value_;
  }

  // A Value's interface.
  Session<Meta>& session() const { return value_.session(); }
  Tensor<Meta, dtype, rank> const& tensor() const { return value().tensor(); }
  Shape<rank> const& shape() const { return value_.shape(); }
  GradientSlot slot() const { return value_.slot(); }
  Place place() const { return value_.place(); }
  bool requires_grad() const { return value_.requires_grad(); }
  V detach() const { return value().detach(); }
  template <class Other>
  auto under() const {
    if constexpr (inference_policy<Other>) {
      auto value = value_.template under<Other>();
      return Watched<decltype(value)>(std::move(value), result_);
    } else {
      return value().template under<Other>();
    }
  }
  Watched at(Place place) const& { return {value_.at(place), result_}; }
  Watched at(Place place) && { return {std::move(value_).at(place), result_}; }

  /// The value for the batch norm `norm`, which can be folded where it stores what it reads.
  V const& read_by_norm(int norm) const {
    constexpr DType read = dtype_of_v<dtype>;
    if (resolve<policy, ops::BatchNorm<false, false>>(read).result != read) return value();
    trace().note_norm_reads(result_, norm);
    return value_;
  }

 private:
  FoldingTrace& trace() const { return static_cast<FoldingTrace&>(value_.session()); }
  V value_;
  int result_;
};

namespace detail {

template <class X>
inline constexpr bool is_watched = false;
template <any_value V>
inline constexpr bool is_watched<Watched<V>> = true;

/// True for values of a FoldingTrace.
template <class X>
inline constexpr bool in_folding_trace =
    inference_policy<typename X::policy>&& std::is_same_v<typename X::backend, Meta>;

/// What a layer returns: the op's result, watched in a FoldingTrace.
template <int Channels, class Op, class X, class... Parameters>
constexpr auto apply_layer(int module_id, Op const& op, Place place, X const& x, Parameters const&... parameters) {
  if constexpr (in_folding_trace<X>) {
    auto result = apply_as<Channels>(op, place, x, parameters...);
    auto& trace = static_cast<FoldingTrace&>(x.session());
    return Watched<decltype(result)>(std::move(result), trace.watch(module_id));
  } else {
    return apply_as<Channels>(op, place, x, parameters...);
  }
}

/// What a batch norm reads.
template <class X>
constexpr auto norm_operand(int norm, X const& x) {
  if constexpr (in_folding_trace<X>) static_cast<FoldingTrace&>(x.session()).note_norm(norm);
  if constexpr (is_watched<X>) {
    return x.read_by_norm(norm);
  } else {
    return mixprec::detail::settled(x);
  }
}

}  // namespace detail

}  // namespace nn

namespace detail {
template <any_value V>
inline constexpr bool is_value<nn::Watched<V>> = true;
}  // namespace detail

}  // namespace mixprec::inline MIXPREC_ABI
