// SPDX-License-Identifier: Apache-2.0
// Dropout whose mask is a function of (seed, stream, element): backward computes it again instead of storing it.
#pragma once

#include <mixprec/backend/cuda/launch.cuh>
#include <mixprec/backend/cuda/vector.cuh>
#include <mixprec/backend/philox.hpp>

namespace mixprec::inline MIXPREC_ABI::cuda {

namespace detail {

template <int W, class X, class Y>
__global__ void dropout_kernel(std::int64_t n, X const* x, Y* y, float threshold, float factor,
                               std::uint64_t const* seed, std::uint64_t stream_id) {
  static_assert(W % 4 == 0, "mixprec: dropout: a Philox call gives four words. Use vectors of a multiple of four.");
  std::int64_t const begin = (std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x) * W;
  if (begin >= n) return;
  bool const whole = begin + W <= n;
  Vector<X, W> in;
  if (whole) {
    in = load<W>(x + begin);
  } else {
#pragma unroll
    for (int j = 0; j < W; ++j) in.element[j] = begin + j < n ? x[begin + j] : convert<X>(0.0f);
  }
  std::uint64_t const key = *seed;
  Vector<Y, W> out;
#pragma unroll
  for (int j = 0; j < W; j += 4) {
    Philox4 const words = philox4x32_10(key, static_cast<std::uint64_t>(begin + j) / 4, stream_id);
#pragma unroll
    for (int word = 0; word < 4; ++word) {
      float const scaled = convert<float>(in.element[j + word]) * factor;
      out.element[j + word] = convert<Y>(uniform_from(words.v[word]) >= threshold ? scaled : 0.0f);
    }
  }
  if (whole) {
    store<W>(y + begin, out);
  } else {
#pragma unroll
    for (int j = 0; j < W; ++j) {
      if (begin + j < n) y[begin + j] = out.element[j];
    }
  }
}

template <int W, class X, class Y>
__global__ void dropout2d_kernel(std::int64_t elements, std::int64_t hw, std::int64_t c, X const* x, Y* y,
                                 float threshold, float factor, std::uint64_t const* seed, std::uint64_t stream_id) {
  std::int64_t const item = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (item * W >= elements) return;
  Split const by_channel = split(item, c / W);
  std::int64_t const first = split(by_channel.quotient, hw).quotient * c + by_channel.remainder * W;
  Vector<X, W> const in = load<W>(x + item * W);
  std::uint64_t const key = *seed;
  Vector<Y, W> out;
  std::uint64_t counter = static_cast<std::uint64_t>(first) / 4;
  Philox4 words = philox4x32_10(key, counter, stream_id);
#pragma unroll
  for (int j = 0; j < W; ++j) {
    std::uint64_t const element = static_cast<std::uint64_t>(first + j);
    if (element / 4 != counter) {
      counter = element / 4;
      words = philox4x32_10(key, counter, stream_id);
    }
    int const word = static_cast<int>(element % 4);
    std::uint32_t const bits = word == 0 ? words.v[0] : word == 1 ? words.v[1] : word == 2 ? words.v[2] : words.v[3];
    out.element[j] = convert<Y>(uniform_from(bits) >= threshold ? convert<float>(in.element[j]) * factor : 0.0f);
  }
  store<W>(y + item * W, out);
}

template <class Seed>
__global__ void advance_seed_kernel(Seed* seed) {
  *seed += 0x9e3779b97f4a7c15u;
}

}  // namespace detail

/// y[i] = kept(i) ? x[i] / (1 - p) : 0, where kept(i) is uniform >= p (p rounded to float). The uniform of element i is
/// word i % 4 of Philox(key = *seed, counter = i / 4, stream_id). The same call on dy is the backward.
/// Sync: `seed` is read when the kernel runs, so that a captured graph sees new seeds.
template <floating_dtype X, floating_dtype Y>
void dropout(Stream& stream, X const* x, Y* y, std::int64_t n, double p, std::uint64_t const* seed,
             std::uint64_t stream_id) {
  if (n == 0) return;
  constexpr int width = detail::vector_width<X, Y>;
  detail::FlatGrid const grid = detail::flat_grid(stream, "dropout", detail::divide_up(n, width));
  detail::launch(stream, "dropout", grid.blocks, grid.threads, detail::dropout_kernel<width, X, Y>, n, x, y,
                 static_cast<float>(p), static_cast<float>(1.0 / (1.0 - p)), seed, stream_id);
}

/// dropout of whole channels: kept(image, channel) is the uniform of element image * c + channel in dropout's sense.
/// Shapes: x and y (n,hw,c). The same call on dy is the backward. Sync: as dropout.
template <floating_dtype X, floating_dtype Y>
void dropout2d(Stream& stream, std::int64_t n, std::int64_t hw, std::int64_t c, X const* x, Y* y, double p,
               std::uint64_t const* seed, std::uint64_t stream_id) {
  if (n * hw * c == 0) return;
  constexpr int width = detail::vector_width<X, Y>;
  bool const whole = c % width == 0;
  detail::FlatGrid const grid = detail::flat_grid(stream, "dropout2d", whole ? n * hw * c / width : n * hw * c);
  detail::launch(stream, "dropout2d", grid.blocks, grid.threads,
                 whole ? detail::dropout2d_kernel<width, X, Y> : detail::dropout2d_kernel<1, X, Y>, n * hw * c, hw, c,
                 x, y, static_cast<float>(p), static_cast<float>(1.0 / (1.0 - p)), seed, stream_id);
}

/// Moves a step's 64-bit key on to the next step's. The constant is odd, so 2^64 steps differ.
inline void advance_seed(Stream& stream, std::uint64_t* seed) {
  detail::launch(stream, "advance_seed", 1, 1, detail::advance_seed_kernel<std::uint64_t>, seed);
}

}  // namespace mixprec::inline MIXPREC_ABI::cuda
