// SPDX-License-Identifier: Apache-2.0
// Plain descriptions of convolutions and pools that CPU and CUDA kernels share. All tensors are NHWC in memory.
#pragma once

#include <cstdint>

#include <mixprec/config.hpp>

namespace mixprec::inline MIXPREC_ABI {

/// Output extent of a sliding window, PyTorch's formula with floor; zero or less where the window does not fit.
constexpr std::int64_t window_extent(std::int64_t in, int kernel, int stride, int padding, int dilation) {
  std::int64_t const room = in + 2 * padding - std::int64_t{dilation} * (kernel - 1) - 1;
  return room < 0 ? 0 : room / stride + 1;
}

/// x: (N,H,W,C). weight: (K,R,S,C/groups), that is PyTorch's OIHW stored channels-last. y: (N,P,Q,K).
struct ConvGeometry {
  std::int64_t n, h, w, c;  // input batch, height, width, channels
  std::int64_t k, r, s;     // output channels, kernel height, kernel width
  std::int64_t p, q;        // output height, width
  int stride, padding, dilation, groups;

  constexpr std::int64_t inputs() const { return n * h * w * c; }
  constexpr std::int64_t outputs() const { return n * p * q * k; }
  constexpr std::int64_t weights() const { return k * r * s * (c / groups); }
  constexpr bool operator==(ConvGeometry const&) const = default;
};

/// x: (N,H,W,C), y: (N,P,Q,C); a square window. Padding counts as -inf for max, as zeros that are counted for average
/// (PyTorch's count_include_pad=True).
struct PoolGeometry {
  std::int64_t n, h, w, c;
  std::int64_t p, q;
  int kernel, stride, padding;

  constexpr std::int64_t inputs() const { return n * h * w * c; }
  constexpr std::int64_t outputs() const { return n * p * q * c; }
};

}  // namespace mixprec::inline MIXPREC_ABI
