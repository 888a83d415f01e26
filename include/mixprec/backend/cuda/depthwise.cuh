// SPDX-License-Identifier: Apache-2.0
// Depthwise 3x3 convolutions (ConvGeometry::depthwise_3x3), which wait for memory alone; libraries change the layout of
// their tensors first, or read them nine times.
#pragma once

#include <algorithm>  // std::max
#include <cstdint>

#include <mixprec/backend/cuda/conv_plan.hpp>
#include <mixprec/backend/cuda/depthwise_forward.cuh>
#include <mixprec/backend/cuda/depthwise_strided.cuh>
#include <mixprec/backend/cuda/depthwise_wgrad.cuh>

namespace mixprec::inline MIXPREC_ABI::cuda::detail {

/// Whether the kernels that go down strips of columns take it.
constexpr bool depthwise_walks(ConvGeometry const& g) {
  std::int64_t const row = (std::max(g.w, g.q) + g.dilation) * g.c;  // its elements are counted in an int
  return g.stride == 1 && row <= INT32_MAX && DilatedAxis::counts(g.h, g.p, g.dilation, g.padding) &&
         DilatedAxis::counts(g.w, g.q, g.dilation, g.padding);
}

/// conv2d_forward, conv2d_backward_input and conv2d_backward_weight of a geometry with depthwise_3x3(); `bias` may be
/// nullptr, and no extent is zero. Precision: products and sums in float, one rounding. Sync: none.
template <class T>
void depthwise_forward(Stream& stream, ConvGeometry const& g, T const* x, T const* w, T const* bias, T* y) {
  char const* const name = "depthwise_forward";
  if (!depthwise_walks(g)) return depthwise_strided<T, false>(stream, name, g, x, w, bias, y);
  depthwise_walk_forward<T, false>(stream, name, g.n, g.c, DilatedAxis::of(g.h, g.p, g.dilation, g.padding),
                                   DilatedAxis::of(g.w, g.q, g.dilation, g.padding), x, w, bias, y);
}

template <class T>
void depthwise_dgrad(Stream& stream, ConvGeometry const& g, T const* dy, T const* w, T* dx) {
  char const* const name = "depthwise_dgrad";
  T const* const bias = nullptr;
  if (!depthwise_walks(g)) return depthwise_strided<T, true>(stream, name, g, dy, w, bias, dx);
  depthwise_walk_forward<T, true>(stream, name, g.n, g.c, DilatedAxis::gradient_of(g.h, g.p, g.dilation, g.padding),
                                  DilatedAxis::gradient_of(g.w, g.q, g.dilation, g.padding), dy, w, bias, dx);
}

/// A value of x that is not finite may reach every tap of its channel.
template <class T>
void depthwise_wgrad(Stream& stream, ConvGeometry const& g, T const* x, T const* dy, T* dw) {
  char const* const name = "depthwise_wgrad";
  if (!depthwise_walks(g)) return depthwise_strided_wgrad(stream, name, g, x, dy, dw);
  depthwise_walk_wgrad(stream, name, g.n, g.c, DilatedAxis::of(g.h, g.p, g.dilation, g.padding),
                       DilatedAxis::of(g.w, g.q, g.dilation, g.padding), x, dy, dw);
}

/// What conv2d_plan says of them: nothing was timed, because nothing else is asked.
inline ConvPlanInfo const& depthwise_plan(ConvOp op) {
  auto const served_by = [](char const* name) {
    ConvPlanInfo info;
    info.found = true;
    info.own = name;
    return info;
  };
  static ConvPlanInfo const forward = served_by("depthwise_forward"), dgrad = served_by("depthwise_dgrad"),
                            wgrad = served_by("depthwise_wgrad");
  return op == ConvOp::backward_input ? dgrad : op == ConvOp::backward_weight ? wgrad : forward;
}

}  // namespace mixprec::inline MIXPREC_ABI::cuda::detail
