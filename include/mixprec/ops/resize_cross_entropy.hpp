// SPDX-License-Identifier: Apache-2.0
// Cross-entropy at label resolution from logits of a lower one: the resize that stands before the loss joins it.
#pragma once

#include <mixprec/ops/loss.hpp>
#include <mixprec/ops/resize.hpp>

namespace mixprec::inline MIXPREC_ABI {

namespace ops {

/// Shapes: logits (N,V,h,w), labels (N,H,W) with (H,W) the resize's size -> (). cross_entropy(resize(logits)) without
/// the resized logits. Precision: float arithmetic, sums and result; half logits are converted in registers, and the
/// values between them are not rounded (the two ops would, where the policy stores them in half). Backward: keeps the
/// logits and one float a label; gathers with float sums, one rounding to the logits' dtype.
template <class Labels, class Weights>
struct ResizeCrossEntropy : OpBase {
  using precision = Fp32Op;
  static constexpr char const* name = "resize+cross_entropy";
  static constexpr bool stores_accumulator = true;
  static constexpr int channels(int) { return dynamic_channels; }

  Resize resize;
  CrossEntropy<Labels, Weights> loss;

  constexpr Shaped<0> shape(Shape<4> logits) const {
    Shaped<4> const resized = resize.shape(logits);
    if (!resized.fits()) return Shaped<0>(resized);
    return loss.shape(resized.shape);
  }
  constexpr double flops(Shape<0>, Shape<4> logits) const {
    Shape<4> const resized = resize.shape(logits).shape;
    return resize.flops(resized, logits) + loss.flops(Shape<0>{}, resized);
  }
  template <class T>
  constexpr auto saved(auto& session, unsigned needs, Shape<4> logits) const {
    return loss.template saved<T>(session, needs, resize.shape(logits).shape);
  }
  constexpr Keeps keeps(unsigned) const { return {.operands = 1}; }
  void forward(auto& session, auto& y, auto& saved, auto const& logits) const {
    auto const& [lse, total] = saved;
    resize_cross_entropy_forward(session.stream(), resize.geometry(logits.shape()), logits.data(), loss.labels.data(),
                                 loss.class_weights.data(), loss.ignore_index, lse.data(), total.data(), y.data());
  }
  void backward(auto& session, auto const& context, auto& gradients) const {
    auto const& logits = std::get<0>(context.operands);
    auto const& [lse, total] = context.saved;
    resize_cross_entropy_backward(session.stream(), resize.geometry(logits.shape()), logits.data(), loss.labels.data(),
                                  loss.class_weights.data(), loss.ignore_index, lse.data(), total.data(),
                                  context.gradient.data(), std::get<0>(gradients).data());
  }
};

}  // namespace ops

/// Cross-entropy of a temporary resize: one op. Where no label counts, the loss is NaN and its gradients are 0, as
/// cross_entropy has it. Errors: labels whose extents are not the resize's, with both values; a batch without labels.
template <detail::open_resize R>
  requires detail::joins_resize<
      R, ops::CrossEntropy<Tensor<typename R::backend, std::int32_t, 3>, Tensor<typename R::backend, float, 1>>>
constexpr auto cross_entropy(R&& resized, Tensor<typename R::backend, std::int32_t, 3> const& labels,
                             CrossEntropyOptions<typename R::backend> const& options = {}) {
  using Labels = Tensor<typename R::backend, std::int32_t, 3>;
  using Weights = Tensor<typename R::backend, float, 1>;
  // Not a conditional expression: see relu of a batch norm in ops/pending_norm.hpp.
  if (resized.open()) {
    ops::ResizeCrossEntropy<Labels, Weights> const op{
        {}, resized.op(), {{}, labels, options.weight, options.ignore_index}};
    return apply(op, resized.place(), resized.source());
  }
  return cross_entropy(resized.value(), labels, options);
}

}  // namespace mixprec::inline MIXPREC_ABI
