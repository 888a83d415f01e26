// SPDX-License-Identifier: Apache-2.0
// The 16-bit types on the device: the same bits as on the host, and as CUDA's own conversions give.
#include <cuda_runtime.h>

#include <mixprec/dtype/cuda_interop.hpp>
#include <mixprec/dtype/dtype.hpp>

#include <doctest/doctest.h>

#include <string>
#include <type_traits>

#include "samples.hpp"

using mixprec::bfloat16;
using mixprec::float16;

static_assert(std::is_convertible_v<__half, float16> && std::is_convertible_v<__nv_bfloat16, bfloat16>);
static_assert(!std::is_convertible_v<__nv_bfloat16, float16> && !std::is_convertible_v<__half, bfloat16>);
static_assert(std::is_constructible_v<__half, float16> && std::is_constructible_v<__nv_bfloat16, bfloat16>);
static_assert(sizeof(float16) == sizeof(__half) && sizeof(bfloat16) == sizeof(__nv_bfloat16));

namespace {

void require(cudaError_t status) { REQUIRE_MESSAGE(status == cudaSuccess, std::string(cudaGetErrorString(status))); }

/// Memory that host and device share, filled with NaN bytes.
template <class T>
class Managed {
 public:
  explicit Managed(std::size_t size) : size_(size) {
    require(cudaMallocManaged(&data_, size * sizeof(T)));
    require(cudaMemset(data_, 0xff, size * sizeof(T)));
    require(cudaDeviceSynchronize());
  }
  Managed(Managed const&) = delete;
  Managed& operator=(Managed const&) = delete;
  ~Managed() { cudaFree(data_); }
  T* get() { return data_; }
  T& operator[](std::size_t i) { return data_[i]; }
  std::size_t size() const { return size_; }

 private:
  T* data_ = nullptr;
  std::size_t size_;
};

struct Rounded {
  std::uint16_t half, cuda_half, brain, cuda_brain;
};
struct Widened {
  std::uint32_t half, cuda_half, brain, cuda_brain;
};

__device__ std::uint16_t bits_of(__half value) { return __half_as_ushort(value); }
__device__ std::uint16_t bits_of(__nv_bfloat16 value) { return __bfloat16_as_ushort(value); }

__global__ void round_all(float const* values, Rounded* results, std::size_t size) {
  std::size_t const i = blockIdx.x * std::size_t{blockDim.x} + threadIdx.x;
  if (i >= size) return;
  results[i] = {float16(values[i]).bits, bits_of(__float2half_rn(values[i])), bfloat16(values[i]).bits,
                bits_of(__float2bfloat16_rn(values[i]))};
}

__global__ void widen_all(Widened* results) {
  unsigned const pattern = blockIdx.x * blockDim.x + threadIdx.x;
  auto const bits = static_cast<std::uint16_t>(pattern);
  results[pattern] = {__float_as_uint(float16::from_bits(bits)), __float_as_uint(__half2float(__ushort_as_half(bits))),
                      __float_as_uint(bfloat16::from_bits(bits)),
                      __float_as_uint(__bfloat162float(__ushort_as_bfloat16(bits)))};
}

__global__ void pass_through_cuda_types(std::uint16_t* half_bits, std::uint16_t* brain_bits) {
  unsigned const pattern = blockIdx.x * blockDim.x + threadIdx.x;
  auto const bits = static_cast<std::uint16_t>(pattern);
  __half const half(float16::from_bits(bits));
  __nv_bfloat16 const brain(bfloat16::from_bits(bits));
  half_bits[pattern] = float16(half).bits;
  brain_bits[pattern] = bfloat16(brain).bits;
}

void round_on_device(std::vector<float> const& values, Managed<Rounded>& results) {
  Managed<float> inputs(values.size());
  for (std::size_t i = 0; i < values.size(); ++i) inputs[i] = values[i];
  auto const blocks = static_cast<unsigned>((values.size() + 255) / 256);
  round_all<<<blocks, 256>>>(inputs.get(), results.get(), values.size());
  require(cudaGetLastError());
  require(cudaDeviceSynchronize());
}

}  // namespace

TEST_CASE("device and host round every sample to the same bits, which are CUDA's") {
  for (auto format : {dtype_samples::float16_format, dtype_samples::bfloat16_format}) {
    auto const values = dtype_samples::samples(format);
    Managed<Rounded> results(values.size());
    round_on_device(values, results);
    int wrong = 0;
    for (std::size_t i = 0; i < values.size(); ++i) {
      auto const half = float16(values[i]).bits;
      auto const brain = bfloat16(values[i]).bits;
      wrong += results[i].half != half || results[i].cuda_half != half;
      wrong += results[i].brain != brain || results[i].cuda_brain != brain;
    }
    CHECK(wrong == 0);
  }
}

TEST_CASE("device and host give every NaN the same form") {
  auto const values = dtype_samples::nans();
  Managed<Rounded> results(values.size());
  round_on_device(values, results);
  for (std::size_t i = 0; i < values.size(); ++i) {
    CAPTURE(std::bit_cast<std::uint32_t>(values[i]));
    CHECK(results[i].half == 0x7fff);
    CHECK(results[i].brain == 0x7fff);
  }
}

TEST_CASE("device and host widen every pattern to the same float, which is CUDA's") {
  Managed<Widened> results(0x10000);
  widen_all<<<0x10000 / 256, 256>>>(results.get());
  require(cudaGetLastError());
  require(cudaDeviceSynchronize());
  int wrong = 0;
  for (std::uint32_t pattern = 0; pattern <= 0xffff; ++pattern) {
    auto const bits = static_cast<std::uint16_t>(pattern);
    auto const half = std::bit_cast<std::uint32_t>(mixprec::from_float16_bits(bits));
    auto const brain = std::bit_cast<std::uint32_t>(mixprec::from_bfloat16_bits(bits));
    wrong += results[pattern].half != half || results[pattern].brain != brain;
    if (!std::isnan(dtype_samples::decode(bits, dtype_samples::float16_format))) {
      wrong += results[pattern].cuda_half != half;
    }
    if (!std::isnan(dtype_samples::decode(bits, dtype_samples::bfloat16_format))) {
      wrong += results[pattern].cuda_brain != brain;
    }
  }
  CHECK(wrong == 0);
}

TEST_CASE("a value that passes through CUDA's type keeps its bits, on device and host") {
  Managed<std::uint16_t> half_bits(0x10000), brain_bits(0x10000);
  pass_through_cuda_types<<<0x10000 / 256, 256>>>(half_bits.get(), brain_bits.get());
  require(cudaGetLastError());
  require(cudaDeviceSynchronize());
  int wrong = 0;
  for (std::uint32_t pattern = 0; pattern <= 0xffff; ++pattern) {
    auto const bits = static_cast<std::uint16_t>(pattern);
    wrong += half_bits[pattern] != bits || brain_bits[pattern] != bits;
    wrong += float16(static_cast<__half>(float16::from_bits(bits))).bits != bits;
    wrong += bfloat16(static_cast<__nv_bfloat16>(bfloat16::from_bits(bits))).bits != bits;
  }
  CHECK(wrong == 0);
}
