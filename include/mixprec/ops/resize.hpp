// SPDX-License-Identifier: Apache-2.0
// Bilinear resize, as a value that has not run yet, so that a loss behind it can do without the large result.
#pragma once

#include <type_traits>
#include <utility>

#include <mixprec/backend/resize_geometry.hpp>
#include <mixprec/ops/pending_norm.hpp>

namespace mixprec::inline MIXPREC_ABI {

/// The extents that `resize` makes.
struct ResizeSize {
  std::int64_t height = 0, width = 0;
};

/// Settings of resize, named as in PyTorch. With `align_corners` the corner pixels' centres of x and result coincide.
struct ResizeOptions {
  bool align_corners = false;
};

namespace ops {

/// Shapes: (N,C,H,W) -> (N,C,height,width). Each pixel lies between four of x, without antialiasing
/// (torch.nn.functional.interpolate, mode="bilinear"). Precision: float arithmetic and result, as PyTorch's autocast
/// has it; Amp stores x's dtype. Backward: gathers with float sums; keeps nothing.
struct Resize : OpBase {
  using precision = Fp32Op;
  static constexpr char const* name = "resize";
  static constexpr bool stores_operand = true;

  ResizeSize size;
  ResizeOptions options;
  ResultColumns columns = {};

  constexpr Shaped<4> shape(Shape<4> x) const {
    if (size.height < 1) return {"resized height (at least 1)", 1, size.height};
    if (size.width < 1) return {"resized width (at least 1)", 1, size.width};
    if (x[2] < 1) return {"height to resize (at least 1)", 1, x[2]};
    if (x[3] < 1) return {"width to resize (at least 1)", 1, x[3]};
    return Shape{x[0], x[1], size.height, size.width};
  }
  constexpr double flops(Shape<4> y, Shape<4>) const { return 8.0 * static_cast<double>(y.size()); }
  constexpr Keeps keeps(unsigned) const { return {}; }
  void forward(auto& session, auto& y, auto&, auto const& x) const {
    resize_forward(session.stream(), geometry(x.shape()), x.data(), y.data(), columns.stride);
  }
  void backward(auto& session, auto const& context, auto& gradients) const {
    auto const& dx = std::get<0>(gradients);
    resize_backward(session.stream(), geometry(dx.shape()), context.gradient.data() + columns.first, dx.data(),
                    columns.stride);
  }
  /// Requires: shape(x).fits().
  ResizeGeometry geometry(Shape<4> x) const {
    return {x[0], x[1], ResizeAxis::of(x[2], size.height, options.align_corners),
            ResizeAxis::of(x[3], size.width, options.align_corners)};
  }
};

}  // namespace ops

namespace detail {
/// What a resize of `V` makes.
template <any_value V>
using ResizeResult = Value<typename V::backend,
                           type_of_t<resolve<typename V::policy, ops::Resize>(dtype_of_v<typename V::dtype>).result>, 4,
                           V::channels, typename V::policy>;
}  // namespace detail

/// What resize returns: a move-only value that runs when something reads it. cross_entropy and argmax of a temporary
/// one take it as it is and never store the result; every other use runs the resize once and reads its result, as do
/// later uses.
template <any_value V>
class PendingResize : public detail::Pending<PendingResize<V>, detail::ResizeResult<V>> {
  using Base = detail::Pending<PendingResize<V>, detail::ResizeResult<V>>;

 public:
  constexpr PendingResize(V x, ops::Resize const& op)
      : x_(std::move(x)), op_(op), shape_{{x_.shape()[0], x_.shape()[1], op.size.height, op.size.width}} {}

  /// The result in `target`, which is `columns` of a wider tensor. The object is used up. Requires: open().
  template <class Target>
  constexpr auto into(Target const& target, ResultColumns columns) && {
    ops::Resize op = op_;
    op.columns = columns;
    return Base::result_of(apply_into<V::channels>(target, op, x_.place(), x_));
  }
  /// What is resized, and how: for the ops that join.
  constexpr V const& source() const { return x_; }
  constexpr ops::Resize const& op() const { return op_; }

  // The part of a Value's interface that needs no run.
  constexpr Session<typename V::backend>& session() const { return x_.session(); }
  constexpr Shape<4> const& shape() const { return shape_; }
  constexpr Place place() const { return x_.place(); }

 private:
  friend Base;
  constexpr auto run_alone() const { return Base::result_of(apply(op_, x_.place(), x_)); }

  V x_;
  ops::Resize op_;
  Shape<4> shape_;
};

namespace detail {
template <any_value V>
inline constexpr bool is_value<PendingResize<V>> = true;

template <class T>
inline constexpr bool is_pending_resize = false;
template <any_value V>
inline constexpr bool is_pending_resize<PendingResize<V>> = true;

/// A temporary PendingResize, as deduced for T&&.
template <class T>
concept open_resize = !std::is_reference_v<T> && !std::is_const_v<T> && is_pending_resize<T>;

/// Whether `Op` can take the place of the resize and of the op behind it: the policy moves neither away from the other.
template <class R, class Op>
concept joins_resize = R::policy::template class_of<ops::Resize> == R::policy::template class_of<Op>;
}  // namespace detail

/// torch.nn.functional.interpolate(x, size, mode="bilinear"): `resize(x, {512, 512})`. Backward gathers, without
/// atomics. Errors: extents below 1, when the resize runs.
template <any_value X>
constexpr auto resize(X const& x, ResizeSize size, ResizeOptions options = {}) {
  static_assert(X::rank == 4, "mixprec: resize: needs images of shape (N,C,H,W). Reshape the operand.");
  auto operand = detail::settled(x);
  return PendingResize<decltype(operand)>(std::move(operand), ops::Resize{{}, size, options, {}});
}

}  // namespace mixprec::inline MIXPREC_ABI
