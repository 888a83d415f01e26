// SPDX-License-Identifier: Apache-2.0
// A value in a forward pass: its dtype, rank, channels, backend and policy are its type.
#pragma once

#include <utility>

#include <mixprec/autograd/parameter.hpp>
#include <mixprec/autograd/row.hpp>
#include <mixprec/tensor/tensor.hpp>

namespace mixprec::inline MIXPREC_ABI {

template <class B>
class Session;

/// Channels that the type does not know.
inline constexpr int dynamic_channels = -1;

/// What ops take and return. `Channels` is the extent of axis 1 where the type knows it. Copies share memory.
template <class B, class T, int Rank, int Channels, class Policy>
class Value {
 public:
  using backend = B;
  using dtype = T;
  using policy = Policy;
  static constexpr int rank = Rank;
  static constexpr int channels = Channels;

  constexpr Value(Session<B>& session, Tensor<B, T, Rank> const& tensor, GradientSlot slot, Place place)
      : session_(&session), tensor_(tensor), slot_(slot), place_(place) {}
  constexpr Value(Session<B>& session, Tensor<B, T, Rank>&& tensor, GradientSlot slot, Place place)
      : session_(&session), tensor_(static_cast<Tensor<B, T, Rank>&&>(tensor)), slot_(slot), place_(place) {}

  constexpr Session<B>& session() const { return *session_; }
  constexpr Tensor<B, T, Rank> const& tensor() const { return tensor_; }
  constexpr Shape<Rank> const& shape() const { return tensor_.shape(); }
  constexpr GradientSlot slot() const { return slot_; }
  constexpr Place place() const { return place_; }
  constexpr bool requires_grad() const { return slot_.needed(); }

  /// The same memory without a gradient.
  constexpr Value detach() const { return {*session_, tensor_, {}, place_}; }
  /// The same value in a region with another policy. Nothing is cast here: ops cast what they read.
  template <class Other>
  constexpr auto under() const {
    return Value<B, T, Rank, Channels, Other>(*session_, tensor_, slot_, place_);
  }
  /// The same value, seen by functions as made at `place`.
  constexpr Value at(Place place) const& { return {*session_, tensor_, slot_, place}; }
  constexpr Value at(Place place) && { return {*session_, static_cast<Tensor<B, T, Rank>&&>(tensor_), slot_, place}; }

 private:
  Session<B>* session_;
  Tensor<B, T, Rank> tensor_;
  GradientSlot slot_;
  Place place_;
};

namespace detail {
template <class T>
inline constexpr bool is_value = false;
template <class B, class T, int Rank, int Channels, class Policy>
inline constexpr bool is_value<Value<B, T, Rank, Channels, Policy>> = true;
}  // namespace detail

/// Models: Value.
template <class T>
concept any_value = detail::is_value<T>;

/// A region in float: every op on the result reads float32 at least, until auto_fp16. MMCV's force_fp32 without its
/// cast kernel: the first op converts in registers where it can.
constexpr auto force_fp32(any_value auto const& x) {
  return x.template under<force_fp32_t<typename std::remove_cvref_t<decltype(x)>::policy>>();
}
/// Back under the policy that force_fp32 left.
constexpr auto auto_fp16(any_value auto const& x) {
  return x.template under<auto_fp16_t<typename std::remove_cvref_t<decltype(x)>::policy>>();
}

}  // namespace mixprec::inline MIXPREC_ABI
