// SPDX-License-Identifier: Apache-2.0
// Which of our tensor core kernels for few channels can serve a convolution.
#pragma once

#include <algorithm>  // std::max
#include <cstddef>
#include <cstdint>
#include <vector>

#include <mixprec/backend/cuda/check.hpp>
#include <mixprec/backend/cuda/conv_plan.hpp>
#include <mixprec/backend/cuda/narrow_forward.cuh>
#include <mixprec/backend/cuda/narrow_stem.cuh>
#include <mixprec/backend/cuda/narrow_wgrad.cuh>
#include <mixprec/backend/cuda/own_conv.hpp>
#include <mixprec/backend/cuda/stream.hpp>
#include <mixprec/backend/geometry.hpp>
#include <mixprec/dtype/dtype.hpp>

namespace mixprec::inline MIXPREC_ABI::cuda::detail {

inline std::size_t most_shared_bytes(Stream const& stream) {
  int bytes = 0;
  check(cudaDeviceGetAttribute(&bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, stream.device()),
        "cudaDeviceGetAttribute");
  return static_cast<std::size_t>(bytes);
}

// 3x3, stride 1, as many channels in as out.
template <class T, int C>
void add_narrow(Stream const& stream, ConvOp op, ConvGeometry const& g, std::vector<OwnConv>& result) {
  if (g.c != C || g.k != C || g.r != 3 || g.s != 3 || g.stride != 1 || g.padding > 2) return;
  std::size_t const shared = most_shared_bytes(stream);
  if constexpr (C <= 32) {
    if (NarrowForward<T, C, C>::shared_bytes <= shared) {
      if (op == ConvOp::forward) {
        result.push_back(
            own_conv<T, ConvOp::forward, narrow_forward<T, C, C>>(OwnConvNumber::narrow_forward, "narrow_forward"));
      } else if (op == ConvOp::backward_input) {
        result.push_back(
            own_conv<T, ConvOp::backward_input, narrow_dgrad<T, C, C>>(OwnConvNumber::narrow_dgrad, "narrow_dgrad"));
      }
    }
  }
  if (op == ConvOp::backward_weight && NarrowWgrad<T, C, C>::shared_bytes <= shared) {
    result.push_back(
        own_conv<T, ConvOp::backward_weight, narrow_wgrad<T, C, C>>(OwnConvNumber::narrow_wgrad, "narrow_wgrad"));
  }
}

// At most `Steps` sixteenths of a window under an output pixel, and more than `Below`.
template <class T, int K, int Below, int Steps>
void add_stem(Stream const& stream, ConvOp op, ConvGeometry const& g, std::vector<OwnConv>& result) {
  std::int64_t const window = g.r * g.s * g.c;
  if (g.k != K || !stem_fits(g) || window <= 16 * Below || window > 16 * Steps) return;
  if (op == ConvOp::forward) {
    result.push_back(
        own_conv<T, ConvOp::forward, stem_forward<T, K, Steps>>(OwnConvNumber::stem_forward, "stem_forward"));
  } else if (op == ConvOp::backward_weight && StemWgrad<K, Steps>::merge_bytes <= most_shared_bytes(stream)) {
    result.push_back(
        own_conv<T, ConvOp::backward_weight, stem_wgrad<T, K, Steps>>(OwnConvNumber::stem_wgrad, "stem_wgrad"));
  }
}

/// Adds those that can serve a convolution.
template <class T>
void add_narrow_convs(Stream const& stream, ConvOp op, ConvGeometry const& g, std::vector<OwnConv>& result) {
  // Rows are counted in an int.
  bool const counts = g.n * std::max(g.h, g.p) <= INT32_MAX && std::max(g.w, g.q) * 64 <= INT32_MAX;
  if (g.groups != 1 || g.dilation != 1 || !counts) return;
  add_narrow<T, 16>(stream, op, g, result);
  add_narrow<T, 32>(stream, op, g, result);
  add_narrow<T, 64>(stream, op, g, result);
  add_stem<T, 16, 0, 1>(stream, op, g, result);
  add_stem<T, 16, 1, 3>(stream, op, g, result);
  add_stem<T, 32, 0, 1>(stream, op, g, result);
  add_stem<T, 32, 1, 3>(stream, op, g, result);
  add_stem<T, 64, 0, 1>(stream, op, g, result);
  add_stem<T, 64, 1, 3>(stream, op, g, result);
}

}  // namespace mixprec::inline MIXPREC_ABI::cuda::detail
