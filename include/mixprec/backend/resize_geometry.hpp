// SPDX-License-Identifier: Apache-2.0
// Where the pixels of a bilinear resize lie, in whole numbers, so that CPU and CUDA kernels agree on every weight and
// on which output pixels an input pixel touches.
#pragma once

#include <cstdint>
#include <numeric>  // std::gcd

#include <mixprec/config.hpp>

namespace mixprec::inline MIXPREC_ABI {

/// One axis of a bilinear resize. Output position d stands at (d * step + offset) / unit of the input, moved to the
/// nearest of [0, in - 1]. The outputs between inputs `low` and `low + 1` form gap `low`; the last gap holds what
/// stands on the last input.
struct ResizeAxis {
  std::int64_t in = 1, out = 1;
  std::int64_t step = 2, offset = 0, unit = 2;

  /// The two inputs of an output. `high` weighs rest / unit, `low` what is left of 1.
  struct Tap {
    std::int64_t low, high, rest;
  };

  /// torch.nn.functional.interpolate's coordinates. Requires: positive extents.
  static constexpr ResizeAxis of(std::int64_t in, std::int64_t out, bool align_corners) {
    ResizeAxis axis{in, out, 0, 0, 1};
    if (align_corners && out > 1) {
      axis.step = in - 1, axis.unit = out - 1;
    } else if (!align_corners) {
      axis.step = 2 * in, axis.offset = in - out, axis.unit = 2 * out;
    }
    std::int64_t const common = std::gcd(std::gcd(axis.step, axis.offset), axis.unit);
    return {in, out, axis.step / common, axis.offset / common, axis.unit / common};
  }

  /// Where output d stands, in units.
  constexpr MIXPREC_HD std::int64_t position(std::int64_t d) const {
    std::int64_t const at = d * step + offset, last = (in - 1) * unit;
    return at < 0 ? 0 : at < last ? at : last;
  }
  constexpr MIXPREC_HD Tap tap(std::int64_t d) const {
    std::int64_t const at = position(d), low = quotient(at, unit);
    return {low, low + 1 < in ? low + 1 : low, at - low * unit};
  }
  /// The first output of gap `low`: the one before which every output stands left of input `low`.
  constexpr MIXPREC_HD std::int64_t begin(std::int64_t low) const {
    if (low <= 0) return 0;
    if (low >= in || step == 0) return out;
    std::int64_t const least = low * unit - offset;  // of d * step
    if (least <= 0) return 0;
    std::int64_t const first = quotient(least + step - 1, step);
    return first < out ? first : out;
  }
  /// The weight of the higher of an output's two inputs.
  template <class A>
  constexpr MIXPREC_HD A fraction(std::int64_t rest) const {
    return static_cast<A>(rest) / static_cast<A>(unit);
  }
  /// The weight that input i has in output d; 0 where it does not touch it.
  template <class A>
  constexpr MIXPREC_HD A weight(std::int64_t d, std::int64_t i) const {
    std::int64_t const from = position(d) - i * unit, distance = from < 0 ? -from : from;
    return distance < unit ? static_cast<A>(unit - distance) / static_cast<A>(unit) : A{0};
  }

 private:
  // Of numbers that are not negative. 64-bit division costs a GPU several times as much.
  static constexpr MIXPREC_HD std::int64_t quotient(std::int64_t value, std::int64_t by) {
    if ((value | by) <= INT32_MAX) return static_cast<std::uint32_t>(value) / static_cast<std::uint32_t>(by);
    return value / by;
  }
};

/// x: (N,H,W,C), y: (N,P,Q,C) with H, P the rows' extents and W, Q the columns'.
struct ResizeGeometry {
  std::int64_t n = 0, c = 0;
  ResizeAxis rows{}, columns{};

  constexpr MIXPREC_HD std::int64_t output_pixels() const { return n * rows.out * columns.out; }
  constexpr std::int64_t inputs() const { return n * rows.in * columns.in * c; }
  constexpr std::int64_t outputs() const { return output_pixels() * c; }
};

}  // namespace mixprec::inline MIXPREC_ABI
