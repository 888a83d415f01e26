// SPDX-License-Identifier: Apache-2.0
// Plain descriptions of convolutions and pools that CPU and CUDA kernels share. All tensors are NHWC in memory.
#pragma once

#include <concepts>  // std::same_as
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
  /// Every channel has a 3x3 window of its own: the backends' depthwise kernels serve it.
  constexpr bool depthwise_3x3() const { return groups == c && c == k && r == 3 && s == 3; }
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

/// One axis of adaptive pooling: bin i of `bins` covers [begin(i), end(i)) of `extent`; neighbours may overlap by one.
/// Source: torch.nn.AdaptiveAvgPool2d, floor(i extent / bins) and ceil((i + 1) extent / bins).
struct AdaptiveAxis {
  std::int64_t extent, bins;

  constexpr MIXPREC_HD std::int64_t begin(std::int64_t bin) const { return bin * extent / bins; }
  constexpr MIXPREC_HD std::int64_t end(std::int64_t bin) const { return ((bin + 1) * extent + bins - 1) / bins; }
  constexpr MIXPREC_HD std::int64_t size(std::int64_t bin) const { return end(bin) - begin(bin); }
  /// The bins that cover `at` are first_over(at) ... last_over(at).
  constexpr MIXPREC_HD std::int64_t first_over(std::int64_t at) const {
    std::int64_t bin = at * bins / extent;
    while (bin > 0 && end(bin - 1) > at) --bin;
    return bin;
  }
  constexpr MIXPREC_HD std::int64_t last_over(std::int64_t at) const {
    std::int64_t bin = at * bins / extent;
    while (bin + 1 < bins && begin(bin + 1) <= at) ++bin;
    return bin;
  }
};

/// x: (N,H,W,C), y: (N,P,Q,C); bin (p, q) of y averages its part of x.
struct AdaptivePoolGeometry {
  std::int64_t n, c;
  AdaptiveAxis rows, columns;

  constexpr std::int64_t inputs() const { return n * rows.extent * columns.extent * c; }
  constexpr std::int64_t outputs() const { return n * rows.bins * columns.bins * c; }
};

/// Adaptive pooling over several grids at once. x: (N,H,W,C), y: (N,bins,C): the bins of the first grid row by row,
/// then those of the next.
struct PyramidGeometry {
  static constexpr int most_grids = 4;
  static constexpr int most_bounds = 64;  // of all grids' bins along one axis, two a bin
  std::int64_t n, h, w, c;
  int grids;
  int grid[most_grids];

  constexpr MIXPREC_HD int bins() const { return first_bin(grids); }
  /// How many bins come before those of grid `at`.
  constexpr MIXPREC_HD int first_bin(int at) const {
    int bins = 0;
    for (int before = 0; before < at; ++before) bins += grid[before] * grid[before];
    return bins;
  }
  constexpr MIXPREC_HD AdaptiveAxis rows(int at) const { return {h, grid[at]}; }
  constexpr MIXPREC_HD AdaptiveAxis columns(int at) const { return {w, grid[at]}; }
  constexpr std::int64_t inputs() const { return n * h * w * c; }
  constexpr std::int64_t outputs() const { return n * bins() * c; }
};

/// What holds a position in a pooling window: a byte up to a kernel of 16, 32 bits above.
template <class T>
concept window_index = std::same_as<T, std::uint8_t> || std::same_as<T, std::int32_t>;

/// The largest kernel whose positions `Index` can number.
template <window_index Index>
inline constexpr int largest_kernel = std::same_as<Index, std::uint8_t> ? 16 : 46340;

}  // namespace mixprec::inline MIXPREC_ABI
