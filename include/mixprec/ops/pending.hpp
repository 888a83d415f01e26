// SPDX-License-Identifier: Apache-2.0
// A value that has not run yet: what the modules and functions whose results can join the op behind them have in
// common.
#pragma once

#include <utility>

#include <mixprec/ops/apply.hpp>

namespace mixprec::inline MIXPREC_ABI::detail {

/// Base of `Derived`, a move-only stand-in for `Result` with a Value's interface. Derived::run_alone() makes the result
/// when something first reads it; later readers get the same one. What needs no run is Derived's: session(), shape()
/// and place().
template <class Derived, any_value Made>
class Pending {
 public:
  using Result = Made;
  using backend = typename Result::backend;
  using dtype = typename Result::dtype;
  using policy = typename Result::policy;
  static constexpr int rank = Result::rank;
  static constexpr int channels = Result::channels;

  Pending(Pending const&) = delete;
  Pending& operator=(Pending const&) = delete;

  /// The result; runs the op the first time.
  constexpr Result const& value() const {
    if (open()) *result_ = new Result(static_cast<Derived const&>(*this).run_alone());
    return **result_;
  }
  /// True until something has read the value: only then can an op still join.
  constexpr bool open() const { return *result_ == nullptr; }
  /// Makes `result` the value; nothing runs any more. Requires: open().
  constexpr void settle(Result result) { *result_ = new Result(std::move(result)); }

  // The part of a Value's interface that reads the result.
  constexpr Tensor<backend, dtype, rank> const& tensor() const { return value().tensor(); }
  constexpr GradientSlot slot() const { return value().slot(); }
  constexpr bool requires_grad() const { return value().requires_grad(); }
  constexpr Result detach() const { return value().detach(); }
  template <class Other>
  constexpr auto under() const {
    return value().template under<Other>();
  }
  constexpr Result at(Place place) const& { return value().at(place); }
  constexpr Derived at(Place) && { return static_cast<Derived&&>(*this); }

  /// The result of an op as a Result, which may know its channels where the op does not.
  static constexpr Result result_of(any_value auto const& made) {
    return Result(made.session(), made.tensor(), made.slot(), made.place());
  }

 protected:
  constexpr Pending() : result_(new Result*(nullptr)) {}
  constexpr Pending(Pending&& other) noexcept : result_(std::exchange(other.result_, nullptr)) {}
  constexpr ~Pending() {
    if (result_ != nullptr) delete *result_;
    delete result_;
  }

 private:
  // Set by the first reader of a const object. Two pointers, because in constant evaluation GCC 12 reads no mutable
  // member and nvcc 13 destroys no std::optional.
  Result** result_;
};

}  // namespace mixprec::inline MIXPREC_ABI::detail
