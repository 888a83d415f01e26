// SPDX-License-Identifier: Apache-2.0
// Run-time extents of a tensor in PyTorch's logical order: (N,C,H,W), (N,C), (C).
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>  // std::index_sequence

#include <mixprec/config.hpp>

namespace mixprec::inline MIXPREC_ABI {

/// Extents in logical order. Rank 4 is stored NHWC; every other rank row-major.
template <int Rank>
struct Shape {
  static constexpr int rank = Rank;
  std::int64_t extents[Rank > 0 ? Rank : 1];

  constexpr std::int64_t operator[](int axis) const { return extents[axis]; }
  constexpr std::int64_t& operator[](int axis) { return extents[axis]; }
  /// Product of the extents; 1 for rank 0.
  constexpr std::int64_t size() const {
    return [this]<std::size_t... I>(std::index_sequence<I...>) { return (std::int64_t{1} * ... * extents[I]); }
    (std::make_index_sequence<Rank>{});
  }
  constexpr bool operator==(Shape const& other) const {
    for (int axis = 0; axis < Rank; ++axis)
      if (extents[axis] != other.extents[axis]) return false;
    return true;
  }
};

template <class... Extent>
Shape(Extent...) -> Shape<static_cast<int>(sizeof...(Extent))>;

/// "(256, 1, 28, 28)"
template <int Rank>
std::string to_string(Shape<Rank> const& shape) {
  std::string text = "(";
  for (int axis = 0; axis < Rank; ++axis) text += (axis > 0 ? ", " : "") + std::to_string(shape[axis]);
  return text + ")";
}

/// What does not fit where a shape rule is broken, and what to do about it.
struct Misfit {
  char const* mismatch = nullptr;  // what differs: "input channels", "height for the kernel"
  std::int64_t expected = 0, received = 0;
  char const* remedy = "Change the layer or the shape of its input.";  // a sentence

  constexpr bool fits() const { return mismatch == nullptr; }
};

/// What an op says that is not defined on nothing: a mean, and statistics. `what` is there at least once.
constexpr Misfit empty_batch(char const* what) {
  return {what, 1, 0, "Pass over empty batches: call neither the model nor the loss on them."};
}

/// What a shape rule returns: a shape, or what does not fit.
template <int Rank>
struct Shaped : Misfit {
  Shape<Rank> shape{};

  constexpr Shaped(Shape<Rank> fitting) : shape(fitting) {}
  constexpr Shaped(char const* what, std::int64_t wanted, std::int64_t got) : Misfit{what, wanted, got} {}
  constexpr Shaped(char const* what, std::int64_t wanted, std::int64_t got, char const* what_to_do)
      : Misfit{what, wanted, got, what_to_do} {}
  /// The misfit of another rule. Requires: !misfit.fits().
  constexpr explicit Shaped(Misfit const& misfit) : Misfit(misfit) {}
};

constexpr std::size_t KiB(std::size_t count) { return count << 10; }
constexpr std::size_t MiB(std::size_t count) { return count << 20; }
constexpr std::size_t GiB(std::size_t count) { return count << 30; }

}  // namespace mixprec::inline MIXPREC_ABI
