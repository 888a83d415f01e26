// SPDX-License-Identifier: Apache-2.0
// Kernels that treat a tensor as a row of elements: casts, fills, sums and products; and the loops under them, which
// other files use with their own operations.
#pragma once

#include <mixprec/backend/cuda/launch.cuh>
#include <mixprec/backend/cuda/vector.cuh>

namespace mixprec::inline MIXPREC_ABI::cuda {

namespace detail {

// An operation is a small struct. `ready()` runs once a thread and may read device memory; what it returns is called
// with floats for each element.

/// Vectors that one thread has in flight.
inline constexpr int map_unroll = 4;

/// y[i] = op(), with no input tensor.
template <int W, class Op, class Y>
__global__ void generate_kernel(Op op, std::int64_t n, Y* y) {
  auto const ready = op.ready();
  Vector<Y, W> out;
#pragma unroll
  for (int j = 0; j < W; ++j) out.element[j] = convert<Y>(ready());
  std::int64_t const vectors = n / W;
  std::int64_t const first = std::int64_t{blockIdx.x} * blockDim.x * map_unroll + threadIdx.x;
#pragma unroll
  for (int u = 0; u < map_unroll; ++u) {
    std::int64_t const i = first + u * static_cast<int>(blockDim.x);
    if (i < vectors) store<W>(y + i * W, out);
  }
  if (blockIdx.x == 0 && threadIdx.x < n - vectors * W) y[vectors * W + threadIdx.x] = out.element[0];
}

/// y[i] = op(a[i]). `y` may be `a`.
template <int W, class Op, class A, class Y>
__global__ void map_kernel(Op op, std::int64_t n, A const* a, Y* y) {
  auto const ready = op.ready();
  std::int64_t const vectors = n / W;
  std::int64_t const first = std::int64_t{blockIdx.x} * blockDim.x * map_unroll + threadIdx.x;
  Vector<A, W> in[map_unroll];
#pragma unroll
  for (int u = 0; u < map_unroll; ++u) {
    std::int64_t const i = first + u * static_cast<int>(blockDim.x);
    if (i < vectors) in[u] = load<W>(a + i * W);
  }
#pragma unroll
  for (int u = 0; u < map_unroll; ++u) {
    std::int64_t const i = first + u * static_cast<int>(blockDim.x);
    Vector<Y, W> out;
#pragma unroll
    for (int j = 0; j < W; ++j) out.element[j] = convert<Y>(ready(convert<float>(in[u].element[j])));
    if (i < vectors) store<W>(y + i * W, out);
  }
  if (blockIdx.x == 0 && threadIdx.x < n - vectors * W) {
    std::int64_t const i = vectors * W + threadIdx.x;
    y[i] = convert<Y>(ready(convert<float>(a[i])));
  }
}

/// y[i] = op(a[i], b[i]). `y` may be `a` or `b`.
template <int W, class Op, class A, class B, class Y>
__global__ void zip_kernel(Op op, std::int64_t n, A const* a, B const* b, Y* y) {
  auto const ready = op.ready();
  std::int64_t const vectors = n / W;
  std::int64_t const first = std::int64_t{blockIdx.x} * blockDim.x * map_unroll + threadIdx.x;
  Vector<A, W> left[map_unroll];
  Vector<B, W> right[map_unroll];
#pragma unroll
  for (int u = 0; u < map_unroll; ++u) {
    std::int64_t const i = first + u * static_cast<int>(blockDim.x);
    if (i < vectors) {
      left[u] = load<W>(a + i * W);
      right[u] = load<W>(b + i * W);
    }
  }
#pragma unroll
  for (int u = 0; u < map_unroll; ++u) {
    std::int64_t const i = first + u * static_cast<int>(blockDim.x);
    Vector<Y, W> out;
#pragma unroll
    for (int j = 0; j < W; ++j) {
      out.element[j] = convert<Y>(ready(convert<float>(left[u].element[j]), convert<float>(right[u].element[j])));
    }
    if (i < vectors) store<W>(y + i * W, out);
  }
  if (blockIdx.x == 0 && threadIdx.x < n - vectors * W) {
    std::int64_t const i = vectors * W + threadIdx.x;
    y[i] = convert<Y>(ready(convert<float>(a[i]), convert<float>(b[i])));
  }
}

/// The grid of the three loops above; never empty, because the first block writes the elements after the last vector.
inline FlatGrid map_grid(Stream const& stream, char const* name, std::int64_t n, int width) {
  return flat_grid(stream, name, std::max<std::int64_t>(n / width, 1), map_unroll);
}

template <class Op, class Y>
void generate(Stream& stream, char const* name, Op op, std::int64_t n, Y* y) {
  if (n == 0) return;
  constexpr int width = vector_width<Y>;
  FlatGrid const grid = map_grid(stream, name, n, width);
  launch(stream, name, grid.blocks, grid.threads, generate_kernel<width, Op, Y>, op, n, y);
}
template <class Op, class A, class Y>
void map(Stream& stream, char const* name, Op op, std::int64_t n, A const* a, Y* y) {
  if (n == 0) return;
  constexpr int width = vector_width<A, Y>;
  FlatGrid const grid = map_grid(stream, name, n, width);
  launch(stream, name, grid.blocks, grid.threads, map_kernel<width, Op, A, Y>, op, n, a, y);
}
template <class Op, class A, class B, class Y>
void zip(Stream& stream, char const* name, Op op, std::int64_t n, A const* a, B const* b, Y* y) {
  if (n == 0) return;
  constexpr int width = vector_width<A, B, Y>;
  FlatGrid const grid = map_grid(stream, name, n, width);
  launch(stream, name, grid.blocks, grid.threads, zip_kernel<width, Op, A, B, Y>, op, n, a, b, y);
}

struct Constant {
  float value;
  __device__ Constant ready() const { return *this; }
  __device__ float operator()() const { return value; }
};
struct Same {
  __device__ Same ready() const { return *this; }
  __device__ float operator()(float value) const { return value; }
};
struct Times {
  float factor;
  __device__ Times ready() const { return *this; }
  __device__ float operator()(float value) const { return value * factor; }
};
struct Sum {
  __device__ Sum ready() const { return *this; }
  __device__ float operator()(float a, float b) const { return a + b; }
};
struct Product {
  __device__ Product ready() const { return *this; }
  __device__ float operator()(float a, float b) const { return a * b; }
};

}  // namespace detail

/// y[i] = x[i], rounded once.
template <floating_dtype From, floating_dtype To>
void cast(Stream& stream, From const* x, To* y, std::int64_t n) {
  detail::map(stream, "cast", detail::Same{}, n, x, y);
}

/// y[i] = value, rounded to float and then to Y.
template <floating_dtype Y>
void fill(Stream& stream, Y* y, double value, std::int64_t n) {
  detail::generate(stream, "fill", detail::Constant{static_cast<float>(value)}, n, y);
}

/// y[i] = a[i] + b[i]; the sum in float, one rounding.
template <floating_dtype A, floating_dtype B, floating_dtype Y>
void add(Stream& stream, A const* a, B const* b, Y* y, std::int64_t n) {
  detail::zip(stream, "add", detail::Sum{}, n, a, b, y);
}

/// y[i] = a[i] * b[i]; the product in float, one rounding.
template <floating_dtype A, floating_dtype B, floating_dtype Y>
void mul(Stream& stream, A const* a, B const* b, Y* y, std::int64_t n) {
  detail::zip(stream, "mul", detail::Product{}, n, a, b, y);
}

/// y[i] = x[i] * factor; the factor is rounded to float first.
template <floating_dtype X, floating_dtype Y>
void scale(Stream& stream, X const* x, double factor, Y* y, std::int64_t n) {
  detail::map(stream, "scale", detail::Times{static_cast<float>(factor)}, n, x, y);
}

/// y[i] += x[i]; the sum in float, one rounding.
template <floating_dtype From, floating_dtype To>
void accumulate(Stream& stream, From const* x, To* y, std::int64_t n) {
  detail::zip(stream, "accumulate", detail::Sum{}, n, x, static_cast<To const*>(y), y);
}

}  // namespace mixprec::inline MIXPREC_ABI::cuda
