// SPDX-License-Identifier: Apache-2.0
// Losses: cross-entropy from logits, mean squared error. The result is a scalar.
#pragma once

#include <mixprec/ops/apply.hpp>

namespace mixprec::inline MIXPREC_ABI {

namespace ops {

/// Shapes: logits (N,V), labels (N), or logits (N,V,H,W), labels (N,H,W) -> (). The mean over labels that are not
/// ignored of -log softmax(logits)[label], weighted by class where weights are given
/// (torch.nn.functional.cross_entropy). Precision: float arithmetic, sums and result; half logits are converted in
/// registers. Backward: keeps the logits and one float a row.
template <class Labels, class Weights>
struct CrossEntropy : OpBase {
  using precision = Fp32Op;
  static constexpr char const* name = "cross_entropy";
  static constexpr bool stores_accumulator = true;
  static constexpr int channels(int) { return dynamic_channels; }

  Labels labels;
  Weights class_weights;  // (V), or without memory
  int ignore_index = -100;

  constexpr Shaped<0> shape(Shape<2> logits) const {
    if (labels.shape()[0] != logits[0])
      return {"labels and rows of logits", logits[0], labels.shape()[0], "Give one label for each row of the logits."};
    return rest_fits(logits);
  }
  constexpr Shaped<0> shape(Shape<4> logits) const {
    if (labels.shape()[0] != logits[0])
      return {"images of labels and logits", logits[0], labels.shape()[0], "Give labels for each image of the batch."};
    for (int axis = 1; axis < 3; ++axis) {
      std::int64_t const wanted = logits[axis + 1];
      if (labels.shape()[axis] != wanted)
        return {"extents of labels and logits", wanted, labels.shape()[axis],
                "Give one label for each pixel of the logits, or resize the logits to the labels' size."};
    }
    return rest_fits(logits);
  }
  template <int Rank>
  constexpr double flops(Shape<0>, Shape<Rank> logits) const {
    return 5.0 * static_cast<double>(logits.size());
  }
  template <class T, int Rank>
  constexpr auto saved(auto& session, unsigned, Shape<Rank> logits) const {
    return std::tuple{session.template allocate<T>(Shape{rows(logits)}),
                      session.template allocate<T>(Shape{1})};  // lse, total
  }
  constexpr Keeps keeps(unsigned) const { return {.operands = 1}; }
  void forward(auto& session, auto& y, auto& saved, auto const& logits) const {
    auto const& [lse, total] = saved;
    cross_entropy_forward(session.stream(), rows(logits.shape()), logits.shape()[1], logits.data(), labels.data(),
                          weights(), ignore_index, lse.data(), total.data(), y.data());
  }
  void backward(auto& session, auto const& context, auto& gradients) const {
    auto const& logits = std::get<0>(context.operands);
    auto const& [lse, total] = context.saved;
    cross_entropy_backward(session.stream(), rows(logits.shape()), logits.shape()[1], logits.data(), labels.data(),
                           weights(), ignore_index, lse.data(), total.data(), context.gradient.data(),
                           std::get<0>(gradients).data());
  }

 private:
  template <int Rank>
  constexpr Shaped<0> rest_fits(Shape<Rank> logits) const {
    if (rows(logits) == 0) return Shaped<0>(empty_batch("labels in the batch (at least 1)"));
    if (class_weights.shape()[0] != 0 && class_weights.shape()[0] != logits[1])
      return {"class weights and classes", logits[1], class_weights.shape()[0], "Give one weight for each class."};
    return Shape<0>{};
  }
  // Images are NHWC in memory: their pixels are the rows of a matrix.
  template <int Rank>
  static constexpr std::int64_t rows(Shape<Rank> logits) {
    return Rank == 2 ? logits[0] : logits[0] * logits[2] * logits[3];
  }
  float const* weights() const { return class_weights.data(); }
};

/// Shapes: x and target alike -> (). The mean of (x - target)^2. Precision: float. Backward: keeps x and target.
struct MseLoss : OpBase {
  using precision = Fp32Op;
  static constexpr char const* name = "mse_loss";
  static constexpr bool stores_accumulator = true;
  static constexpr int channels(int) { return dynamic_channels; }

  template <int Rank>
  constexpr Shaped<0> shape(Shape<Rank> x, Shape<Rank> target) const {
    for (int axis = 0; axis < Rank; ++axis)
      if (x[axis] != target[axis])
        return {"extents of input and target", x[axis], target[axis], "Give a target of the input's shape."};
    if (x.size() == 0) return Shaped<0>(empty_batch("values in the batch (at least 1)"));
    return Shape<0>{};
  }
  constexpr double flops(Shape<0>, auto const& x, auto const&) const { return 3.0 * static_cast<double>(x.size()); }
  constexpr Keeps keeps(unsigned) const { return {.operands = 0b11}; }
  void forward(auto& session, auto& y, auto&, auto const& x, auto const& target) const {
    mse_forward(session.stream(), x.data(), target.data(), x.size(), y.data());
  }
  void backward(auto& session, auto const& context, auto& gradients) const {
    auto const& [x, target] = context.operands;
    auto const& [dx, dtarget] = gradients;
    if (dx) mse_backward(session.stream(), x.data(), target.data(), x.size(), context.gradient.data(), dx.data());
    if (dtarget)
      mse_backward(session.stream(), target.data(), x.data(), x.size(), context.gradient.data(), dtarget.data());
  }
};

}  // namespace ops

/// Settings of cross_entropy, named as in PyTorch. `weight`: (V) float, or empty.
template <class B>
struct CrossEntropyOptions {
  int ignore_index = -100;
  Tensor<B, float, 1> weight{};
};

/// torch.nn.functional.cross_entropy(logits, labels) with reduction="mean"; labels are int32. Where no label counts,
/// since all are ignore_index, the mean is over nothing: the loss is NaN, as in PyTorch, and its gradients are 0.
/// Errors: a batch without labels; extents or class weights that do not fit; a label outside the classes that is not
/// ignore_index. On the CPU: Error with the label and its row. On CUDA, where the host would have to wait for the
/// labels: the loss and its gradients become NaN, so that a dynamic scaler skips the step.
template <any_value X>
constexpr auto cross_entropy(X const& logits, Tensor<typename X::backend, std::int32_t, 1> const& labels,
                             CrossEntropyOptions<typename X::backend> const& options = {}) {
  static_assert(X::rank == 2,
                "mixprec: cross_entropy: one label a row needs logits of shape (N,V). For logits of shape (N,V,H,W), "
                "give labels of shape (N,H,W).");
  using Op = ops::CrossEntropy<Tensor<typename X::backend, std::int32_t, 1>, Tensor<typename X::backend, float, 1>>;
  return apply(Op{{}, labels, options.weight, options.ignore_index}, logits.place(), logits);
}

/// The same for every pixel: logits (N,V,H,W), labels (N,H,W). `cross_entropy(resize(logits, size), labels)` is one op
/// that stores no resized logits (ops/resize_cross_entropy.hpp).
template <any_value X>
constexpr auto cross_entropy(X const& logits, Tensor<typename X::backend, std::int32_t, 3> const& labels,
                             CrossEntropyOptions<typename X::backend> const& options = {}) {
  static_assert(
      X::rank == 4,
      "mixprec: cross_entropy: labels of shape (N,H,W) need logits of shape (N,V,H,W). For logits of shape (N,V), "
      "give labels of shape (N).");
  using Op = ops::CrossEntropy<Tensor<typename X::backend, std::int32_t, 3>, Tensor<typename X::backend, float, 1>>;
  return apply(Op{{}, labels, options.weight, options.ignore_index}, logits.place(), logits);
}

template <any_value X, class Label, int Rank>
  requires(!std::is_same_v<Label, std::int32_t>)
constexpr auto cross_entropy(X const& logits, Tensor<typename X::backend, Label, Rank> const&,
                             CrossEntropyOptions<typename X::backend> const& options = {}) {
  static_assert(std::is_same_v<Label, std::int32_t>,
                "mixprec: cross_entropy: labels are int32. Convert them on the host, before they are copied to the "
                "batch: std::vector<std::int32_t>(labels.begin(), labels.end()).");
  return cross_entropy(logits, Tensor<typename X::backend, std::int32_t, Rank>(), options);
}

/// torch.nn.functional.mse_loss with reduction="mean". Errors: a batch without values; shapes that differ.
template <any_value X, any_value Target>
constexpr auto mse_loss(X const& x, Target const& target) {
  return apply(ops::MseLoss{}, x.place(), x, target);
}

}  // namespace mixprec::inline MIXPREC_ABI
