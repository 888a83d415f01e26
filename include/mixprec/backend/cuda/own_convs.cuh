// SPDX-License-Identifier: Apache-2.0
// Everything of ours that can serve a convolution. The tuner times it beside cuDNN's engines.
#pragma once

#include <type_traits>
#include <vector>

#include <mixprec/backend/cuda/conv_plan.hpp>
#include <mixprec/backend/cuda/im2col.cuh>
#include <mixprec/backend/cuda/narrow_conv.cuh>

namespace mixprec::inline MIXPREC_ABI::cuda::detail {

template <class T>
std::vector<OwnConv> own_convs(Stream const& stream, ConvOp op, ConvGeometry const& g) {
  std::vector<OwnConv> result;
  if constexpr (!std::is_same_v<T, float>) add_narrow_convs<T>(stream, op, g, result);
  add_products<T>(stream, op, g, result);
  return result;
}

}  // namespace mixprec::inline MIXPREC_ABI::cuda::detail
