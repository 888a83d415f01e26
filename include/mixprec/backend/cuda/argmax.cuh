// SPDX-License-Identifier: Apache-2.0
// The class with the largest logit, in each row of a matrix and at each pixel of a resize that is not stored.
#pragma once

#include <cmath>  // HUGE_VALF

#include <mixprec/backend/cuda/resize_tile.cuh>

namespace mixprec::inline MIXPREC_ABI::cuda {

namespace detail {

/// The first of the largest values; NaN wins over numbers.
struct Largest {
  float value;
  int index;

  __device__ void take(float other, int at) {
    if (other > value || (other != other && value == value)) {
      value = other;
      index = at;
    }
  }
  /// As take, where positions come in no order.
  __device__ void merge(Largest other) {
    bool const same = other.value == value || (other.value != other.value && value != value);
    if (same) {
      index = min(index, other.index);
    } else {
      take(other.value, other.index);
    }
  }
};

/// A warp has a row.
template <class X>
__global__ void argmax_kernel(std::int64_t rows, std::int64_t cols, X const* x, std::int32_t* y) {
  std::int64_t const row = std::int64_t{blockIdx.x} * (blockDim.x / 32) + threadIdx.x / 32;
  if (row >= rows) return;
  int const lane = static_cast<int>(threadIdx.x) % 32;
  Largest largest{-HUGE_VALF, lane < cols ? lane : 0};
  for (std::int64_t j = lane; j < cols; j += 32) {
    largest.take(convert<float>(x[row * cols + j]), static_cast<int>(j));
  }
#pragma unroll
  for (int offset = 16; offset > 0; offset /= 2) {
    largest.merge(Largest{__shfl_xor_sync(~0u, largest.value, offset), __shfl_xor_sync(~0u, largest.index, offset)});
  }
  if (lane == 0) y[row] = largest.index;
}

/// The largest class of each output, after rounding to `Y`.
template <class Y>
struct ResizeArgmax {
  using State = Largest;
  struct Totals {};
  std::int32_t* y;

  __device__ State begin(std::int64_t, bool) const { return {-HUGE_VALF, 0}; }
  __device__ bool counts(State const&) const { return true; }
  template <int N>
  __device__ void take(State& state, float const (&value)[N], int first) const {
#pragma unroll
    for (int j = 0; j < N; ++j) state.take(convert<float>(convert<Y>(value[j])), first + j);
  }
  __device__ void end(std::int64_t output, State const& state, Totals&) const { y[output] = state.index; }
  __device__ void conclude(Totals&) const {}
};

}  // namespace detail

/// y = position of the first maximum of each row; NaN wins, as in torch.argmax. Shapes: x (rows, cols), y (rows).
template <floating_dtype X>
void argmax(Stream& stream, std::int64_t rows, std::int64_t cols, X const* x, std::int32_t* y) {
  if (rows == 0) return;
  constexpr int threads = 256;
  detail::launch(stream, "argmax", detail::grid_extent("argmax", detail::divide_up(rows, threads / 32)), threads,
                 detail::argmax_kernel<X>, rows, cols, x, y);
}

/// y = argmax over the channels of resize_forward's result as `Y`, without storing it. Shapes: x (N,H,W,C), y (N,P,Q).
template <floating_dtype Y, floating_dtype X>
void resize_argmax(Stream& stream, ResizeGeometry const& g, X const* x, std::int32_t* y) {
  if (g.output_pixels() == 0) return;
  detail::for_each_resized(stream, "resize_argmax", g, detail::resize_blocks<X>(stream, g), x,
                           detail::ResizeArgmax<Y>{y});
}

}  // namespace mixprec::inline MIXPREC_ABI::cuda
