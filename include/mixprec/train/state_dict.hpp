// SPDX-License-Identifier: Apache-2.0
// State as named tensors in host memory: what a checkpoint holds, without a file format.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <map>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include <mixprec/dtype/dtype.hpp>
#include <mixprec/error.hpp>

namespace mixprec::inline MIXPREC_ABI {

/// A named tensor: little endian, row-major in logical order (weights OIHW), as PyTorch and safetensors have it.
struct StateTensor {
  std::string name;
  DType dtype = DType::float32;
  std::vector<std::int64_t> shape;  // empty: a scalar
  std::vector<std::byte> bytes;
  bool operator==(StateTensor const&) const = default;
};
using StateDict = std::vector<StateTensor>;

namespace detail {

template <class T>
std::vector<double> widened(std::span<std::byte const> bytes) {
  std::vector<double> values(bytes.size() / sizeof(T));
  for (std::size_t index = 0; index < values.size(); ++index) {
    T value;
    std::memcpy(&value, bytes.data() + index * sizeof(T), sizeof(T));
    if constexpr (std::is_integral_v<T>) {
      values[index] = static_cast<double>(value);
    } else {
      values[index] = convert<double>(value);
    }
  }
  return values;
}
/// The values of a tensor of a floating dtype or int64.
inline std::vector<double> values_of(std::span<std::byte const> bytes, DType dtype) {
  switch (dtype) {
    case DType::float64: return widened<double>(bytes);
    case DType::float16: return widened<float16>(bytes);
    case DType::bfloat16: return widened<bfloat16>(bytes);
    case DType::int64: return widened<std::int64_t>(bytes);
    default: return widened<float>(bytes);
  }
}

template <class T>
std::vector<std::byte> narrowed(std::vector<double> const& values) {
  std::vector<std::byte> bytes(values.size() * sizeof(T));
  for (std::size_t index = 0; index < values.size(); ++index) {
    T const value = convert<T>(values[index]);
    std::memcpy(bytes.data() + index * sizeof(T), &value, sizeof(T));
  }
  return bytes;
}
inline std::vector<std::byte> bytes_of(std::vector<double> const& values, DType dtype) {
  switch (dtype) {
    case DType::float64: return narrowed<double>(values);
    case DType::float16: return narrowed<float16>(values);
    case DType::bfloat16: return narrowed<bfloat16>(values);
    default: return narrowed<float>(values);
  }
}

template <class T>
StateTensor scalar_tensor(std::string name, T value) {
  StateTensor tensor{std::move(name), dtype_of_v<T>, {}, std::vector<std::byte>(sizeof(T))};
  std::memcpy(tensor.bytes.data(), &value, sizeof(T));
  return tensor;
}

/// Takes tensors out of a state by name. Errors: Error that names the tensor where one is given twice, missing, of
/// another dtype or shape, or left at the end.
class StateReader {
 public:
  explicit StateReader(StateDict const& state) {
    for (StateTensor const& tensor : state)
      if (!left_.emplace(tensor.name, &tensor).second) refuse(tensor.name, "is given twice. Remove one.");
  }
  bool contains(std::string const& name) const { return left_.contains(name); }
  std::vector<double> take(std::string const& name, DType dtype, std::vector<std::int64_t> const& shape) {
    return values_of(find(name, dtype, shape).bytes, dtype);
  }
  template <class T>
  T take_scalar(std::string const& name) {
    T value;
    std::memcpy(&value, find(name, dtype_of_v<T>, {}).bytes.data(), sizeof(T));
    return value;
  }
  void finish() const {
    if (!left_.empty()) {
      refuse(left_.begin()->first,
             "has no place here. Build model, optimizer and EMA with the options that the state was made with.");
    }
  }

 private:
  [[noreturn]] static void refuse(std::string const& name, std::string const& what) {
    throw Error("state: \"" + name + "\" " + what);
  }
  StateTensor const& find(std::string const& name, DType dtype, std::vector<std::int64_t> const& shape) {
    auto const at = left_.find(name);
    if (at == left_.end()) refuse(name, "is missing. Load what state() has returned, whole.");
    StateTensor const& tensor = *at->second;
    left_.erase(at);
    std::size_t bytes = size_of(dtype);
    for (std::int64_t const extent : shape) bytes *= static_cast<std::size_t>(extent);
    if (tensor.dtype != dtype || tensor.shape != shape || tensor.bytes.size() != bytes) {
      refuse(name, std::string("has another dtype or shape than the ") + name_of(dtype) + " tensor of " +
                       std::to_string(bytes) +
                       " bytes that belongs here. Declare the model that the state belongs to.");
    }
    return tensor;
  }
  std::map<std::string, StateTensor const*> left_;
};

}  // namespace detail

}  // namespace mixprec::inline MIXPREC_ABI
