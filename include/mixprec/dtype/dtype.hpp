// SPDX-License-Identifier: Apache-2.0
// The data types that tensors hold: names, sizes, numeric traits, and the promotion lattice.
#pragma once

#include <cstddef>
#include <cstdint>

#include <mixprec/dtype/bfloat16.hpp>
#include <mixprec/dtype/float16.hpp>

namespace mixprec::inline MIXPREC_ABI {

/// What a tensor's elements are. Floating dtypes come first (is_floating), and the values index the tables below. They
/// are in no file: files name dtypes.
enum class DType : std::uint8_t {
  float64 = 0,
  float32 = 1,
  float16 = 2,
  bfloat16 = 3,
  int64 = 4,
  int32 = 5,
  uint8 = 6
};

/// PyTorch's name of a dtype.
constexpr char const* name_of(DType dtype) {
  constexpr char const* names[] = {"float64", "float32", "float16", "bfloat16", "int64", "int32", "uint8"};
  return names[static_cast<int>(dtype)];
}

/// Bytes of one element.
constexpr std::size_t size_of(DType dtype) {
  constexpr std::size_t sizes[] = {8, 4, 2, 2, 8, 4, 1};
  return sizes[static_cast<int>(dtype)];
}

constexpr bool is_floating(DType dtype) { return static_cast<int>(dtype) <= static_cast<int>(DType::bfloat16); }

/// The smallest dtype that holds every value of both: PyTorch's lattice. float16 with bfloat16 gives float32, because
/// neither holds the other. Only floating dtypes promote.
constexpr DType promote(DType a, DType b) {
  if (a == b) return a;
  if (a == DType::float64 || b == DType::float64) return DType::float64;
  return DType::float32;
}

namespace detail {
template <DType>
struct TypeOf;
template <class>
struct DTypeOf;
template <DType D, class T>
struct DTypePair {
  static constexpr DType value = D;
  using type = T;
};
// clang-format off
template <> struct TypeOf<DType::float64> : DTypePair<DType::float64, double> {};
template <> struct TypeOf<DType::float32> : DTypePair<DType::float32, float> {};
template <> struct TypeOf<DType::float16> : DTypePair<DType::float16, float16> {};
template <> struct TypeOf<DType::bfloat16> : DTypePair<DType::bfloat16, bfloat16> {};
template <> struct TypeOf<DType::int64> : DTypePair<DType::int64, std::int64_t> {};
template <> struct TypeOf<DType::int32> : DTypePair<DType::int32, std::int32_t> {};
template <> struct TypeOf<DType::uint8> : DTypePair<DType::uint8, std::uint8_t> {};
template <> struct DTypeOf<double> : TypeOf<DType::float64> {};
template <> struct DTypeOf<float> : TypeOf<DType::float32> {};
template <> struct DTypeOf<float16> : TypeOf<DType::float16> {};
template <> struct DTypeOf<bfloat16> : TypeOf<DType::bfloat16> {};
template <> struct DTypeOf<std::int64_t> : TypeOf<DType::int64> {};
template <> struct DTypeOf<std::int32_t> : TypeOf<DType::int32> {};
template <> struct DTypeOf<std::uint8_t> : TypeOf<DType::uint8> {};
// clang-format on
}  // namespace detail

/// The C++ type of a dtype, and back.
template <DType D>
using type_of_t = typename detail::TypeOf<D>::type;
template <class T>
inline constexpr DType dtype_of_v = detail::DTypeOf<T>::value;

/// A floating type that tensors compute with. Models: double, float, float16, bfloat16.
template <class T>
concept floating_dtype = requires {
  requires is_floating(detail::DTypeOf<T>::value);
};

/// The type in which sums over elements of a dtype are kept: float for the 16-bit types and float, double for double.
constexpr DType accumulator_of(DType dtype) { return dtype == DType::float64 ? DType::float64 : DType::float32; }
template <floating_dtype T>
using accumulator_t = type_of_t<accumulator_of(dtype_of_v<T>)>;

/// Numeric limits, as double so that they can be compared across dtypes. `eps` is the distance from 1 to the next
/// value.
struct FloatTraits {
  double eps, max, min_normal, min_subnormal;
  int significand_bits;  // the hidden bit counted in
};

constexpr FloatTraits traits_of(DType dtype) {
  switch (dtype) {
    case DType::float64: return {0x1p-52, 0x1.fffffffffffffp1023, 0x1p-1022, 0x0.0000000000001p-1022, 53};
    case DType::float16: return {0x1p-10, 65504.0, 0x1p-14, 0x1p-24, 11};
    case DType::bfloat16: return {0x1p-7, 0x1.fep127, 0x1p-126, 0x1p-133, 8};
    default: return {0x1p-23, 0x1.fffffep127, 0x1p-126, 0x1p-149, 24};
  }
}
template <floating_dtype T>
inline constexpr FloatTraits float_traits_v = traits_of(dtype_of_v<T>);

/// True where `value` is finite and, unless it is zero, not flushed to zero when stored as `dtype`.
constexpr bool representable(double value, DType dtype) {
  double const magnitude = value < 0 ? -value : value;
  FloatTraits const traits = traits_of(dtype);
  return magnitude <= traits.max && (magnitude == 0 || magnitude >= traits.min_subnormal);
}

/// Explicit conversion between any two floating types; the only spelling that kernels use. A double becomes a 16-bit
/// type through float, with two roundings: such values come from options and oracles, never from a model's data.
template <floating_dtype To, floating_dtype From>
constexpr MIXPREC_HD To convert(From value) {
  if constexpr (sizeof(From) == 2 && sizeof(To) != 4) {
    return To(static_cast<float>(value));
  } else if constexpr (sizeof(To) == 2) {
    return To(static_cast<float>(value));
  } else {
    return static_cast<To>(value);
  }
}

}  // namespace mixprec::inline MIXPREC_ABI
