// SPDX-License-Identifier: Apache-2.0
// Predictions at image resolution from logits of a lower one: the resize that stands before argmax joins it.
#pragma once

#include <mixprec/ops/argmax.hpp>
#include <mixprec/ops/resize.hpp>

namespace mixprec::inline MIXPREC_ABI {

namespace ops {

/// Shapes: (N,V,h,w) -> (N,H,W) with (H,W) the resize's size, int32. argmax(resize(x)) without the resized values, bit
/// for bit: they are compared as `Stored`, the dtype in which the resize would have stored them.
template <class Stored>
struct ResizeArgmax : Argmax {
  static constexpr char const* name = "resize+argmax";

  Resize resize;

  constexpr Shaped<3> shape(Shape<4> x) const {
    Shaped<4> const resized = resize.shape(x);
    if (!resized.fits()) return Shaped<3>(resized);
    return Argmax::shape(resized.shape);
  }
  constexpr double flops(Shape<3>, Shape<4> x) const {
    Shape<4> const resized = resize.shape(x).shape;
    return resize.flops(resized, x) + static_cast<double>(resized.size());
  }
  void forward(auto& session, auto& y, auto&, auto const& x) const {
    resize_argmax<Stored>(session.stream(), resize.geometry(x.shape()), x.data(), y.data());
  }
};

}  // namespace ops

/// argmax of a temporary resize: one op.
template <detail::open_resize R>
constexpr auto argmax(R&& resized) {
  if (resized.open()) {
    return apply(ops::ResizeArgmax<typename R::dtype>{{}, resized.op()}, resized.place(), resized.source());
  }
  return argmax(resized.value());
}

}  // namespace mixprec::inline MIXPREC_ABI
