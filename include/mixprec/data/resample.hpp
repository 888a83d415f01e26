// SPDX-License-Identifier: Apache-2.0
// Images of another size: bilinear for what is seen, nearest for labels, and mirrored ones. Pixels are squares whose
// centres map onto each other, as in OpenCV's bilinear, PyTorch's align_corners=False and, for labels, "nearest-exact".
// Only a window of the result is computed, so that a crop of an enlarged image costs what the crop costs.
#pragma once

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include <mixprec/data/image.hpp>

namespace mixprec::inline MIXPREC_ABI {

namespace detail {

/// Where one row or column of the result comes from: `first` and `second`, the second with weight / one.
struct Tap {
  int first, second;
  std::int64_t weight, one;
};

// Result pixels [begin, begin + count) of an axis of `out` pixels, taken from `in` pixels. The position is a fraction
// of integers: no rounding moves it.
inline std::vector<Tap> bilinear_taps(int in, int out, int begin, int count) {
  std::vector<Tap> taps;
  taps.reserve(static_cast<std::size_t>(count));
  std::int64_t const one = 2 * std::int64_t{out};
  for (int i = begin; i < begin + count; ++i) {
    std::int64_t const position = std::max<std::int64_t>((2 * std::int64_t{i} + 1) * in - out, 0);
    int const first = static_cast<int>(position / one);
    taps.push_back({first, std::min(first + 1, in - 1), position % one, one});
  }
  return taps;
}

inline std::vector<int> nearest_taps(int in, int out, int begin, int count) {
  std::vector<int> taps;
  taps.reserve(static_cast<std::size_t>(count));
  for (int i = begin; i < begin + count; ++i) {
    taps.push_back(static_cast<int>((2 * std::int64_t{i} + 1) * in / (2 * std::int64_t{out})));
  }
  return taps;
}

// Weights of bytes are multiples of 1 / 2048: integers, the same on every platform.
inline constexpr int byte_weight_bits = 11;

inline std::vector<int> byte_weights(std::vector<Tap> const& taps) {
  std::vector<int> weights;
  weights.reserve(taps.size());
  for (Tap const& tap : taps) {
    weights.push_back(static_cast<int>(((tap.weight << byte_weight_bits) + tap.one / 2) / tap.one));
  }
  return weights;
}

inline std::vector<float> float_weights(std::vector<Tap> const& taps) {
  std::vector<float> weights;
  weights.reserve(taps.size());
  for (Tap const& tap : taps) weights.push_back(static_cast<float>(tap.weight) / static_cast<float>(tap.one));
  return weights;
}

inline int blend(int a, int b, int c, int d, int right, int down) {
  constexpr int one = 1 << byte_weight_bits;
  int const top = a * (one - right) + b * right, bottom = c * (one - right) + d * right;
  return (top * (one - down) + bottom * down + (1 << (2 * byte_weight_bits - 1))) >> (2 * byte_weight_bits);
}
inline float blend(float a, float b, float c, float d, float right, float down) {
  float const top = a + (b - a) * right, bottom = c + (d - c) * right;
  return top + (bottom - top) * down;
}

template <class T>
void resize_bilinear(std::span<T const> in, ImageExtent from, int channels, ImageExtent to, ImageWindow window,
                     std::span<T> out) {
  std::vector<Tap> const rows = bilinear_taps(from.height, to.height, window.top, window.height);
  std::vector<Tap> const columns = bilinear_taps(from.width, to.width, window.left, window.width);
  auto const weights = [](std::vector<Tap> const& taps) {
    if constexpr (std::same_as<T, float>) {
      return float_weights(taps);
    } else {
      return byte_weights(taps);
    }
  };
  auto const down = weights(rows), right = weights(columns);
  std::size_t const depth = static_cast<std::size_t>(channels), line = depth * static_cast<std::size_t>(from.width);
  T* at = out.data();
  for (std::size_t y = 0; y < rows.size(); ++y) {
    T const* const upper = in.data() + static_cast<std::size_t>(rows[y].first) * line;
    T const* const lower = in.data() + static_cast<std::size_t>(rows[y].second) * line;
    for (std::size_t x = 0; x < columns.size(); ++x) {
      std::size_t const first = static_cast<std::size_t>(columns[x].first) * depth;
      std::size_t const second = static_cast<std::size_t>(columns[x].second) * depth;
      for (std::size_t c = 0; c < depth; ++c) {
        *at++ = static_cast<T>(
            blend(upper[first + c], upper[second + c], lower[first + c], lower[second + c], right[x], down[y]));
      }
    }
  }
}

inline void require_window(ImageExtent from, ImageExtent to, ImageWindow window) {
  bool const sensible = from.height > 0 && from.width > 0 && window.top >= 0 && window.left >= 0 && window.height > 0 &&
                        window.width > 0 && window.top <= to.height - window.height &&
                        window.left <= to.width - window.width;
  if (sensible) return;
  throw Error("resize: rows from " + std::to_string(window.top) + " and columns from " + std::to_string(window.left) +
              ", " + to_text(window.extent()) + " of them, of a " + to_text(from) + " image made " + to_text(to) +
              ". Extents must be positive, and the window inside the result.");
}

template <class T>
void mirror_rows(std::span<T> values, ImageExtent extent, int channels) {
  std::ptrdiff_t const depth = channels, line = depth * extent.width;
  for (auto row = values.begin(); row != values.end(); row += line) {
    for (auto left = row, right = row + line - depth; left < right; left += depth, right -= depth) {
      std::swap_ranges(left, left + depth, right);
    }
  }
}

}  // namespace detail

/// The part `window` of the image scaled to `to`, bilinear. The same on every platform.
inline Image resized(Image const& image, ImageExtent to, ImageWindow window) {
  detail::require_window(image.extent(), to, window);
  Image out{window.height, window.width, image.channels, {}};
  out.pixels.resize(window.extent().pixels() * static_cast<std::size_t>(image.channels));
  detail::resize_bilinear<std::uint8_t>(image.pixels, image.extent(), image.channels, to, window, out.pixels);
  return out;
}

/// The part `window` of the label map scaled to `to`: every label is one of the map's.
inline LabelMap resized(LabelMap const& labels, ImageExtent to, ImageWindow window) {
  detail::require_window(labels.extent(), to, window);
  auto const rows = detail::nearest_taps(labels.height, to.height, window.top, window.height);
  auto const columns = detail::nearest_taps(labels.width, to.width, window.left, window.width);
  LabelMap out{window.height, window.width, {}};
  out.values.reserve(window.extent().pixels());
  for (int const row : rows) {
    std::uint8_t const* const line =
        labels.values.data() + static_cast<std::size_t>(row) * static_cast<std::size_t>(labels.width);
    for (int const column : columns) out.values.push_back(line[column]);
  }
  return out;
}

/// The whole image or label map, scaled.
template <class T>
  requires(std::same_as<T, Image> || std::same_as<T, LabelMap>)
T resized(T const& image, ImageExtent to) { return resized(image, to, {0, 0, to.height, to.width}); }

/// Logits or other values (height, width, channels) scaled to `to`, bilinear.
/// Errors: values that are not the extent's.
inline std::vector<float> resized(std::span<float const> values, ImageExtent from, int channels, ImageExtent to) {
  detail::require_window(from, to, {0, 0, to.height, to.width});
  if (channels < 1 || values.size() != from.pixels() * static_cast<std::size_t>(channels)) {
    throw Error("resize: " + std::to_string(values.size()) + " values for " + to_text(from) + " pixels of " +
                std::to_string(channels) + " channels. Give one value for every channel of every pixel.");
  }
  std::vector<float> out(to.pixels() * static_cast<std::size_t>(channels));
  detail::resize_bilinear<float>(values, from, channels, to, {0, 0, to.height, to.width}, out);
  return out;
}

/// Swaps left and right, in place.
inline void mirror(Image& image) { detail::mirror_rows<std::uint8_t>(image.pixels, image.extent(), image.channels); }
inline void mirror(LabelMap& labels) { detail::mirror_rows<std::uint8_t>(labels.values, labels.extent(), 1); }
inline void mirror(std::span<float> values, ImageExtent extent, int channels) {
  detail::mirror_rows(values, extent, channels);
}

}  // namespace mixprec::inline MIXPREC_ABI
