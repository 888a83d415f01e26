// SPDX-License-Identifier: Apache-2.0
// Bilinear resize over NHWC tensors; the backward pass gathers, so that sums have one order.
#pragma once

#include <algorithm>  // std::clamp, std::min

#include <mixprec/backend/cuda/partial_sums.cuh>
#include <mixprec/backend/cuda/pool.cuh>
#include <mixprec/backend/resize_geometry.hpp>

namespace mixprec::inline MIXPREC_ABI::cuda {

namespace detail {

/// Between a and b. Every kernel that interpolates rounds in this one way: first along the columns, then the rows.
__device__ inline float lerp(float a, float b, float fraction) { return fmaf(fraction, b - a, a); }

template <int W, class X, class Y>
__global__ void resize_forward_kernel(std::int64_t elements, ResizeGeometry g, X const* x, Y* y,
                                      std::int64_t y_stride) {
  std::int64_t const item = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (item * W >= elements) return;
  PixelVector const at = pixel_vector<W>(item, g.rows.out, g.columns.out, g.c);
  ResizeAxis::Tap const vertical = g.rows.tap(at.row), horizontal = g.columns.tap(at.column);
  float const down = g.rows.template fraction<float>(vertical.rest);
  float const right = g.columns.template fraction<float>(horizontal.rest);
  X const* const image = x + at.image * g.rows.in * g.columns.in * g.c + at.channel;
  Vector<X, W> const a = load<W>(image + (vertical.low * g.columns.in + horizontal.low) * g.c);
  Vector<X, W> const b = load<W>(image + (vertical.low * g.columns.in + horizontal.high) * g.c);
  Vector<X, W> const c = load<W>(image + (vertical.high * g.columns.in + horizontal.low) * g.c);
  Vector<X, W> const d = load<W>(image + (vertical.high * g.columns.in + horizontal.high) * g.c);
  Vector<Y, W> out;
#pragma unroll
  for (int j = 0; j < W; ++j) {
    float const top = lerp(convert<float>(a.element[j]), convert<float>(b.element[j]), right);
    float const bottom = lerp(convert<float>(c.element[j]), convert<float>(d.element[j]), right);
    out.element[j] = convert<Y>(lerp(top, bottom, down));
  }
  std::int64_t const pixel = (at.image * g.rows.out + at.row) * g.columns.out + at.column;
  store<W>(y + pixel * y_stride + at.channel, out);
}

/// dx, or several partial sums of it, `pitch` elements apart: the rows of the outputs that an input touches are shared
/// among blockIdx.y.
template <int W, class Y, class X>
__global__ void resize_backward_kernel(std::int64_t elements, std::int64_t pitch, ResizeGeometry g, Y const* dy,
                                       std::int64_t y_stride, X* dx) {
  std::int64_t const item = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  X* const result = dx + blockIdx.y * pitch + item * W;
  if (item * W >= elements) {
    if (item * W < pitch) *result = X{};
    return;
  }
  PixelVector const at = pixel_vector<W>(item, g.rows.in, g.columns.in, g.c);
  int const top = static_cast<int>(g.rows.begin(at.row - 1)), bottom = static_cast<int>(g.rows.begin(at.row + 1));
  int const left = static_cast<int>(g.columns.begin(at.column - 1));
  int const right = static_cast<int>(g.columns.begin(at.column + 1));
  std::int64_t const touched = bottom - top, part = blockIdx.y, parts = gridDim.y;
  int const first = top + static_cast<int>(touched * part / parts);
  int const last = top + static_cast<int>(touched * (part + 1) / parts);
  float sum[W] = {};
  for (int p = first; p < last; ++p) {
    float const vertical = g.rows.template weight<float>(p, at.row);
    Y const* const line = dy + (at.image * g.rows.out + p) * g.columns.out * y_stride + at.channel;
#pragma unroll 4
    for (int q = left; q < right; ++q) {
      float const weight = vertical * g.columns.template weight<float>(q, at.column);
      Vector<Y, W> const gradient = load<W>(line + q * y_stride);
#pragma unroll
      for (int j = 0; j < W; ++j) sum[j] = fmaf(weight, convert<float>(gradient.element[j]), sum[j]);
    }
  }
  Vector<X, W> out;
#pragma unroll
  for (int j = 0; j < W; ++j) out.element[j] = convert<X>(sum[j]);
  store<W>(result, out);
}

/// In how many parts the outputs of each input are summed: one, but where few inputs have many outputs each (a pooled
/// pixel under a whole image) so many that the GPU is busy. `width`: channels a thread where they can be handled so;
/// the same for all alignments, so that the bits are.
inline std::int64_t resize_backward_parts(Stream const& stream, ResizeGeometry const& g, int width) {
  auto const touched = [](ResizeAxis const& axis) { return std::min(axis.out, 2 * divide_up(axis.out, axis.in)); };
  std::int64_t const rows = touched(g.rows), items = divide_up(g.inputs(), width);
  std::int64_t const busy = divide_up(std::int64_t{1024} * stream.multiprocessors(), items);
  std::int64_t const worthwhile = rows * touched(g.columns) / 32;  // a part has as many outputs or more
  return std::clamp<std::int64_t>(std::min(busy, worthwhile), 1, std::min<std::int64_t>(rows, 1024));
}

template <int W, class Y, class X>
void resize_backward_with(Stream& stream, ResizeGeometry const& g, Y const* dy, std::int64_t y_stride, X* dx) {
  std::int64_t const elements = g.inputs(), parts = resize_backward_parts(stream, g, vector_width<X, Y>);
  std::int64_t const pitch = parts == 1 ? elements : partial_sums_pitch(elements);
  FlatGrid const flat = flat_grid(stream, "resize_backward", divide_up(pitch, W));
  dim3 const grid(flat.blocks, static_cast<unsigned>(parts));
  if (parts == 1) {
    launch(stream, "resize_backward", grid, flat.threads, resize_backward_kernel<W, Y, X>, elements, pitch, g, dy,
           y_stride, dx);
    return;
  }
  auto* const partials = static_cast<float*>(stream.scratch(static_cast<std::size_t>(parts * pitch) * sizeof(float)));
  launch(stream, "resize_backward", grid, flat.threads, resize_backward_kernel<W, Y, float>, elements, pitch, g, dy,
         y_stride, partials);
  merge_partial_sums(stream, "resize_backward", parts, elements, partials, dx);
}

}  // namespace detail

/// y = x between its pixels. Shapes: x (N,H,W,C), y (N,P,Q,C), whose pixels lie `y_stride` elements apart, 0: C.
/// Precision: weights and sums in float, one rounding.
/// Source: torch.nn.functional.interpolate, mode="bilinear", without antialiasing.
template <floating_dtype X, floating_dtype Y>
void resize_forward(Stream& stream, ResizeGeometry const& g, X const* x, Y* y, std::int64_t y_stride = 0) {
  if (y_stride == 0) y_stride = g.c;
  constexpr int width = detail::vector_width<X, Y>;
  detail::launch_pixels(
      stream, "resize_forward", g.outputs(), g.c, detail::takes_vectors<width>(g.c, y_stride, y) ? width : 1,
      detail::resize_forward_kernel<1, X, Y>, detail::resize_forward_kernel<width, X, Y>, g, x, y, y_stride);
}

/// dx = for each input the sum of dy over the outputs that it touches, times its weight there. dy's pixels lie
/// `y_stride` elements apart, 0: C. Precision: float sums in a fixed order, one rounding.
template <floating_dtype Y, floating_dtype X>
void resize_backward(Stream& stream, ResizeGeometry const& g, Y const* dy, X* dx, std::int64_t y_stride = 0) {
  if (g.inputs() == 0) return;
  if (y_stride == 0) y_stride = g.c;
  constexpr int width = detail::vector_width<X, Y>;
  if (detail::takes_vectors<width>(g.c, y_stride, dy)) {
    detail::resize_backward_with<width>(stream, g, dy, y_stride, dx);
  } else {
    detail::resize_backward_with<1>(stream, g, dy, y_stride, dx);
  }
}

}  // namespace mixprec::inline MIXPREC_ABI::cuda
