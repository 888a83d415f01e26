// SPDX-License-Identifier: Apache-2.0
// How a kernel of ours becomes a candidate for the tuner of convolutions.
#pragma once

#include <cstddef>
#include <cstdint>

#include <mixprec/backend/cuda/conv_plan.hpp>
#include <mixprec/backend/cuda/stream.hpp>
#include <mixprec/backend/geometry.hpp>

namespace mixprec::inline MIXPREC_ABI::cuda::detail {

// The numbers are in users' plan caches: a new kernel takes a new one.
enum class OwnConvNumber : std::int64_t {
  narrow_forward = -1001,
  narrow_dgrad = -1002,
  narrow_wgrad = -1003,
  stem_forward = -1004,
  stem_wgrad = -1005,
  pointwise_forward = -1006,
  pointwise_dgrad = -1007,
  pointwise_wgrad = -1008,
  columns_forward = -1009,
  columns_dgrad = -1010,
  columns_wgrad = -1011
};

/// An OwnConv that runs Kernel(stream, g, operand, operand, result); `Op` says which of x, w and y is which.
template <class T, ConvOp Op, auto Kernel>
OwnConv own_conv(OwnConvNumber number, char const* name, std::size_t workspace = 0) {
  return {
      static_cast<std::int64_t>(number), name, workspace,
      [](Stream& stream, ConvGeometry const& g, void* x, void* w, void* y) {
        T *const typed_x = static_cast<T*>(x), *const typed_w = static_cast<T*>(w), *const typed_y = static_cast<T*>(y);
        if constexpr (Op == ConvOp::forward) Kernel(stream, g, typed_x, typed_w, typed_y);
        if constexpr (Op == ConvOp::backward_input) Kernel(stream, g, typed_y, typed_w, typed_x);
        if constexpr (Op == ConvOp::backward_weight) Kernel(stream, g, typed_x, typed_y, typed_w);
      }};
}

}  // namespace mixprec::inline MIXPREC_ABI::cuda::detail
