// SPDX-License-Identifier: Apache-2.0
// Walks over the classes of every pixel of a bilinear resize that is not stored: what the loss and the prediction at
// label resolution have in common. A thread has a column and up to four rows between the same two rows of the input,
// which share the interpolation along the columns; the input's pixels come from shared memory.
#pragma once

#include <cfloat>

#include <mixprec/backend/cuda/dynamic_shared.cuh>
#include <mixprec/backend/cuda/resize.cuh>

namespace mixprec::inline MIXPREC_ABI::cuda::detail {

inline constexpr int resize_tile_columns = 32;  // outputs side by side, one a lane
inline constexpr int resize_tile_gaps = 4;      // gaps of the rows, one a warp
inline constexpr int resize_tile_threads = resize_tile_columns * resize_tile_gaps;
inline constexpr std::size_t resize_tile_memory = std::size_t{47} << 10;  // with the kernels' own arrays below 48 KiB
inline constexpr int resize_blocks_per_multiprocessor = 16;

/// How the outputs are shared out; `tiles` is 0 where tiles do not pay: where the input has more pixels than the
/// result.
struct ResizeTiling {
  std::int64_t tiles, columns, gaps;  // of all images; of one image side by side; and one below another
  int classes, pitch;                 // in shared memory at once, and elements from pixel to pixel there
  std::size_t bytes;
};

template <class X>
ResizeTiling tile_resize(ResizeGeometry const& g) {
  ResizeTiling tiling{};
  if (g.rows.in > g.rows.out || g.columns.in > g.columns.out || g.output_pixels() == 0) return tiling;
  tiling.columns = divide_up(g.columns.out, resize_tile_columns);
  tiling.gaps = divide_up(g.rows.in, resize_tile_gaps);
  tiling.tiles = g.n * tiling.columns * tiling.gaps;
  std::int64_t const most = (resize_tile_columns - 1) * g.columns.in / g.columns.out + 3;
  std::int64_t const pixels = (resize_tile_gaps + 1) * std::min(most, g.columns.in);
  // An odd number of 32-bit words from pixel to pixel: lanes on neighbouring pixels read from different banks.
  constexpr int word = 4 / sizeof(X);
  auto const pitch = [](std::int64_t classes) { return (divide_up(classes, word) | 1) * word; };
  std::int64_t classes = divide_up(g.c, 8) * 8;
  while (classes > 8 && static_cast<std::size_t>(pixels * pitch(classes)) * sizeof(X) > resize_tile_memory) {
    classes -= 8;
  }
  tiling.classes = static_cast<int>(classes);
  tiling.pitch = static_cast<int>(pitch(classes));
  tiling.bytes = static_cast<std::size_t>(pixels * tiling.pitch) * sizeof(X);
  return tiling;
}

/// Copies the classes [first, first + count) of `rows` by `columns` pixels to shared memory. `from` is their first.
template <class X>
__device__ void load_resize_tile(ResizeGeometry const& g, X const* from, int rows, int columns, int first, int count,
                                 int pitch, X* tile) {
  int const lane = static_cast<int>(threadIdx.x) % 32;
  constexpr int word = 4 / sizeof(X);
  bool const whole = g.c % word == 0;
  for (int pixel = static_cast<int>(threadIdx.x) / 32; pixel < rows * columns; pixel += resize_tile_threads / 32) {
    int const row = pixel / columns;
    X const* const source = from + (row * g.columns.in + pixel - row * columns) * g.c + first;
    X* const to = tile + pixel * pitch;
    if (whole) {
      for (int j = lane * word; j < count; j += 32 * word) store<word>(to + j, load<word>(source + j));
    } else {
      for (int j = lane; j < count; j += 32) to[j] = source[j];
    }
  }
}

/// The four pixels around an output, and the weight of the right ones.
template <class X>
struct ResizeCorners {
  X const *top_left, *top_right, *bottom_left, *bottom_right;
  float right;

  /// Between the columns, N classes from `at` on.
  template <int N>
  __device__ void lines(int at, float (&top)[N], float (&bottom)[N]) const {
    constexpr int word = N % (4 / sizeof(X)) == 0 ? 4 / sizeof(X) : 1;
#pragma unroll
    for (int j = 0; j < N; j += word) {
      Vector<X, word> const a = load<word>(top_left + at + j), b = load<word>(top_right + at + j);
      Vector<X, word> const c = load<word>(bottom_left + at + j), d = load<word>(bottom_right + at + j);
#pragma unroll
      for (int i = 0; i < word; ++i) {
        top[j + i] = lerp(convert<float>(a.element[i]), convert<float>(b.element[i]), right);
        bottom[j + i] = lerp(convert<float>(c.element[i]), convert<float>(d.element[i]), right);
      }
    }
  }
};

/// Shows N classes from class `first` on to the K outputs of a thread.
template <int N, int K, class X, class Task>
__device__ void take_classes(Task const& task, ResizeCorners<X> const& corners, int at, int first,
                             float const (&down)[K], typename Task::State (&state)[K]) {
  float top[N], bottom[N];
  corners.template lines<N>(at, top, bottom);
#pragma unroll
  for (int j = 0; j < N; ++j) bottom[j] -= top[j];
#pragma unroll
  for (int k = 0; k < K; ++k) {
    float value[N];
#pragma unroll
    for (int j = 0; j < N; ++j) value[j] = fmaf(down[k], bottom[j], top[j]);
    task.take(state[k], value, first);
  }
}

/// A Task has a State of one output and Totals of one thread;
/// - `begin(output)` gives the State, and `counts(state)` says whether anything depends on the classes;
/// - `take(state, float (&values)[N], first)` sees N classes from class `first` on;
/// - `end(output, state, totals)` writes the result; `conclude(totals)` is called once by all threads of the grid.
template <int K, class X, class Task>
__global__ void __launch_bounds__(resize_tile_threads, 6)
    resize_tile_kernel(ResizeTiling tiling, ResizeGeometry g, X const* x, Task task) {
  X* const tile = dynamic_shared<X>();
  int const lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  int const classes = static_cast<int>(g.c);
  typename Task::Totals totals{};
  for (std::int64_t index = blockIdx.x; index < tiling.tiles; index += gridDim.x) {
    Split const by_column = split(index, tiling.columns);
    Split const by_gap = split(by_column.quotient, tiling.gaps);
    std::int64_t const n = by_gap.quotient, first_gap = by_gap.remainder * resize_tile_gaps;
    std::int64_t const first_column = by_column.remainder * resize_tile_columns;
    std::int64_t const last_column = min(first_column + resize_tile_columns, g.columns.out) - 1;
    std::int64_t const left = g.columns.tap(first_column).low;
    int const columns = static_cast<int>(g.columns.tap(last_column).high - left) + 1;
    int const rows = static_cast<int>(min(std::int64_t{resize_tile_gaps + 1}, g.rows.in - first_gap));
    X const* const from = x + ((n * g.rows.in + first_gap) * g.columns.in + left) * g.c;

    std::int64_t const gap = first_gap + warp, column = first_column + lane;
    ResizeAxis::Tap const tap = g.columns.tap(min(column, last_column));
    int const above = min(warp, rows - 1), below = min(warp + 1, rows - 1);
    auto const corner = [&](int row, std::int64_t at) {
      return tile + (row * columns + static_cast<int>(at - left)) * tiling.pitch;
    };
    ResizeCorners<X> const corners{corner(above, tap.low), corner(above, tap.high), corner(below, tap.low),
                                   corner(below, tap.high), g.columns.template fraction<float>(tap.rest)};
    std::int64_t const end = gap < g.rows.in ? g.rows.begin(gap + 1) : 0;
    std::int64_t row = gap < g.rows.in ? g.rows.begin(gap) : 0;
    bool loaded = false;
    // Also the barrier before the tile is overwritten.
    while (__syncthreads_or(row < end)) {
      typename Task::State state[K];
      float down[K];
      bool counts = false;
#pragma unroll
      for (int k = 0; k < K; ++k) {
        bool const exists = row + k < end && column <= last_column;
        std::int64_t const at = exists ? row + k : g.rows.out - 1;
        down[k] = g.rows.template fraction<float>(exists ? g.rows.position(at) - gap * g.rows.unit : 0);
        state[k] = task.begin((n * g.rows.out + at) * g.columns.out + min(column, last_column), exists);
        counts = counts || task.counts(state[k]);
      }
      for (int first = 0; first < classes; first += tiling.classes) {
        int const count = min(tiling.classes, classes - first);
        if (!loaded) {
          if (first > 0) __syncthreads();
          load_resize_tile(g, from, rows, columns, first, count, tiling.pitch, tile);
          __syncthreads();
        }
        if (!counts) continue;
        int at = 0;
        for (; at + 8 <= count; at += 8) take_classes<8>(task, corners, at, first + at, down, state);
        for (; at + 2 <= count; at += 2) take_classes<2>(task, corners, at, first + at, down, state);
        for (; at < count; ++at) take_classes<1>(task, corners, at, first + at, down, state);
      }
      loaded = tiling.classes >= classes;
#pragma unroll
      for (int k = 0; k < K; ++k) {
        if (row + k < end && column <= last_column) {
          task.end((n * g.rows.out + row + k) * g.columns.out + column, state[k], totals);
        }
      }
      row += K;
    }
  }
  task.conclude(totals);
}

/// The same where outputs share no pixels of the input: one thread an output, nothing in shared memory.
template <class X, class Task>
__global__ void __launch_bounds__(resize_tile_threads) resize_pixel_kernel(ResizeGeometry g, X const* x, Task task) {
  int const classes = static_cast<int>(g.c);
  typename Task::Totals totals{};
  for (std::int64_t output = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x; output < g.output_pixels();
       output += std::int64_t{gridDim.x} * blockDim.x) {
    Split const by_column = split(output, g.columns.out);
    Split const by_row = split(by_column.quotient, g.rows.out);
    ResizeAxis::Tap const vertical = g.rows.tap(by_row.remainder), horizontal = g.columns.tap(by_column.remainder);
    X const* const image = x + by_row.quotient * g.rows.in * g.columns.in * g.c;
    auto const corner = [&](std::int64_t row, std::int64_t column) {
      return image + (row * g.columns.in + column) * g.c;
    };
    ResizeCorners<X> const corners{corner(vertical.low, horizontal.low), corner(vertical.low, horizontal.high),
                                   corner(vertical.high, horizontal.low), corner(vertical.high, horizontal.high),
                                   g.columns.template fraction<float>(horizontal.rest)};
    float const down[1] = {g.rows.template fraction<float>(vertical.rest)};
    typename Task::State state[1] = {task.begin(output, true)};
    if (task.counts(state[0])) {
      for (int at = 0; at < classes; ++at) take_classes<1>(task, corners, at, at, down, state);
    }
    task.end(output, state[0], totals);
  }
  task.conclude(totals);
}

/// Runs `task` over all outputs. `blocks` is what resize_blocks says.
template <class X, class Task>
void for_each_resized(Stream& stream, char const* name, ResizeGeometry const& g, unsigned blocks, X const* x,
                      Task const& task) {
  ResizeTiling const tiling = tile_resize<X>(g);
  if (tiling.tiles == 0) {
    launch(stream, name, blocks, resize_tile_threads, resize_pixel_kernel<X, Task>, g, x, task);
  } else if (g.rows.out >= 3 * g.rows.in) {
    launch_with_memory(stream, name, blocks, resize_tile_threads, tiling.bytes, resize_tile_kernel<4, X, Task>, tiling,
                       g, x, task);
  } else {
    launch_with_memory(stream, name, blocks, resize_tile_threads, tiling.bytes, resize_tile_kernel<2, X, Task>, tiling,
                       g, x, task);
  }
}

template <class X>
unsigned resize_blocks(Stream const& stream, ResizeGeometry const& g) {
  std::int64_t const tiles = tile_resize<X>(g).tiles;
  std::int64_t const wanted = tiles > 0 ? tiles : divide_up(g.output_pixels(), resize_tile_threads);
  std::int64_t const most = std::int64_t{resize_blocks_per_multiprocessor} * stream.multiprocessors();
  return static_cast<unsigned>(std::clamp<std::int64_t>(wanted, 1, most));
}

}  // namespace mixprec::inline MIXPREC_ABI::cuda::detail
