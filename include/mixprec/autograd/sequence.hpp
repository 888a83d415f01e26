// SPDX-License-Identifier: Apache-2.0
// A growing array for constant evaluation; std::vector costs the constexpr evaluator several times as many steps.
#pragma once

#include <mixprec/config.hpp>

namespace mixprec::inline MIXPREC_ABI {

/// Owns `size()` values of a default-constructible T. Move-only.
template <class T>
class Sequence {
 public:
  constexpr Sequence() = default;
  constexpr Sequence(Sequence&& other) noexcept : items_(other.items_), size_(other.size_), capacity_(other.capacity_) {
    other.items_ = nullptr;
    other.size_ = other.capacity_ = 0;
  }
  Sequence(Sequence const&) = delete;
  Sequence& operator=(Sequence const&) = delete;
  constexpr ~Sequence() { delete[] items_; }

  constexpr int push_back(T const& item) {
    if (size_ == capacity_) grow();
    return items_[size_] = item, size_++;
  }
  constexpr void resize(int size) {
    while (size_ < size) push_back(T{});
  }
  constexpr void clear() { size_ = 0; }
  /// The removed item stays readable until the next push_back.
  constexpr T const& pop_back() { return items_[--size_]; }

  constexpr int size() const { return size_; }
  constexpr T& operator[](int index) { return items_[index]; }
  constexpr T const& operator[](int index) const { return items_[index]; }
  constexpr T const* begin() const { return items_; }
  constexpr T const* end() const { return items_ + size_; }

 private:
  constexpr void grow() {
    int const capacity = capacity_ == 0 ? 64 : 2 * capacity_;
    T* const items = new T[static_cast<unsigned>(capacity)]{};
    for (int index = 0; index < size_; ++index) items[index] = items_[index];
    delete[] items_;
    items_ = items;
    capacity_ = capacity;
  }
  T* items_ = nullptr;
  int size_ = 0, capacity_ = 0;
};

}  // namespace mixprec::inline MIXPREC_ABI
