// SPDX-License-Identifier: Apache-2.0
// Which of our own tensor core kernels can serve a convolution. The tuner times them beside cuDNN's engines.
#pragma once

#include <algorithm>  // std::max
#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <vector>

#include <mixprec/backend/cuda/check.hpp>
#include <mixprec/backend/cuda/conv_plan.hpp>
#include <mixprec/backend/cuda/narrow_forward.cuh>
#include <mixprec/backend/cuda/narrow_stem.cuh>
#include <mixprec/backend/cuda/narrow_wgrad.cuh>
#include <mixprec/backend/cuda/stream.hpp>
#include <mixprec/backend/geometry.hpp>
#include <mixprec/dtype/dtype.hpp>

namespace mixprec::inline MIXPREC_ABI::cuda::detail {

// The numbers are in users' plan caches: a new kernel takes a new one.
enum class OwnConvNumber : std::int64_t {
  narrow_forward = -1001,
  narrow_dgrad = -1002,
  narrow_wgrad = -1003,
  stem_forward = -1004,
  stem_wgrad = -1005
};

/// An OwnConv that runs Kernel(stream, g, operand, operand, result); `Op` says which of x, w and y is which.
template <class T, ConvOp Op, auto Kernel>
OwnConv own_conv(OwnConvNumber number, char const* name) {
  return {
      static_cast<std::int64_t>(number), name, [](Stream& stream, ConvGeometry const& g, void* x, void* w, void* y) {
        T *const typed_x = static_cast<T*>(x), *const typed_w = static_cast<T*>(w), *const typed_y = static_cast<T*>(y);
        if constexpr (Op == ConvOp::forward) Kernel(stream, g, typed_x, typed_w, typed_y);
        if constexpr (Op == ConvOp::backward_input) Kernel(stream, g, typed_y, typed_w, typed_x);
        if constexpr (Op == ConvOp::backward_weight) Kernel(stream, g, typed_x, typed_y, typed_w);
      }};
}

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

/// Our kernels for a convolution, none where there is none.
template <class T>
std::vector<OwnConv> own_convs(Stream const& stream, ConvOp op, ConvGeometry const& g) {
  std::vector<OwnConv> result;
  if constexpr (std::is_same_v<T, float16> || std::is_same_v<T, bfloat16>) {
    // Rows are counted in an int.
    bool const counts = g.n * std::max(g.h, g.p) <= INT32_MAX && std::max(g.w, g.q) * 64 <= INT32_MAX;
    if (g.groups != 1 || g.dilation != 1 || !counts) return result;
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
  return result;
}

}  // namespace mixprec::inline MIXPREC_ABI::cuda::detail
