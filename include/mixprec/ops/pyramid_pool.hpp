// SPDX-License-Identifier: Apache-2.0
// Average pooling to several grids at once, as PSPNet needs it.
#pragma once

#include <mixprec/backend/geometry.hpp>
#include <mixprec/ops/apply.hpp>

namespace mixprec::inline MIXPREC_ABI {

namespace ops {

/// Shapes: (N,C,H,W) -> (N,C,bins,1): the bins of the first grid row by row, then those of the next. Each is the mean
/// of its part, as in adaptive_avg_pool2d. Precision: follows x, sums in float. Backward: gathers dy / size; keeps
/// nothing.
struct PyramidPool : OpBase {
  using precision = FollowOp;
  static constexpr char const* name = "pyramid_pool";
  int grids = 0;
  int grid[PyramidGeometry::most_grids]{};

  constexpr Shaped<4> shape(Shape<4> x) const {
    for (int at = 0; at < grids; ++at)
      if (grid[at] < 1) return {"grid's rows and columns (at least 1)", 1, grid[at]};
    if (x[2] < 1 || x[3] < 1) return {"height and width to pool (at least 1)", 1, x[2] < 1 ? x[2] : x[3]};
    return Shape{x[0], x[1], std::int64_t{geometry(x).bins()}, std::int64_t{1}};
  }
  constexpr double flops(Shape<4>, Shape<4> x) const { return static_cast<double>(x.size()) * grids; }
  constexpr Keeps keeps(unsigned) const { return {}; }
  void forward(auto& session, auto& y, auto&, auto const& x) const {
    pyramid_pool_forward(session.stream(), geometry(x.shape()), x.data(), y.data());
  }
  void backward(auto& session, auto const& context, auto& gradients) const {
    auto const& dx = std::get<0>(gradients);
    pyramid_pool_backward(session.stream(), geometry(dx.shape()), context.gradient.data(), dx.data());
  }
  constexpr PyramidGeometry geometry(Shape<4> x) const {
    PyramidGeometry result{x[0], x[2], x[3], x[1], grids, {}};
    for (int at = 0; at < grids; ++at) result.grid[at] = grid[at];
    return result;
  }
};

/// One grid of a PyramidPool's result. Shapes: (N,C,bins,1) -> (N,C,grid,grid), from bin `first` on. Precision: follows
/// x; copies. Backward: dx is dy in those bins and 0 in the others; keeps nothing.
struct PyramidLevel : OpBase {
  using precision = FollowOp;
  static constexpr char const* name = "pyramid_level";
  int first = 0, grid = 1;

  constexpr Shaped<4> shape(Shape<4> x) const {
    if (x[2] < first + grid * grid || x[3] != 1) return {"bins of the pyramid", first + grid * grid, x[2]};
    return Shape{x[0], x[1], std::int64_t{grid}, std::int64_t{grid}};
  }
  constexpr double flops(Shape<4>, Shape<4>) const { return 0; }
  constexpr Keeps keeps(unsigned) const { return {}; }
  void forward(auto& session, auto& y, auto&, auto const& x) const {
    std::int64_t const c = x.shape()[1], columns = grid * grid * c;
    copy_columns(session.stream(), x.shape()[0], columns, x.data() + first * c, x.shape()[2] * c, y.data(), columns);
  }
  void backward(auto& session, auto const& context, auto& gradients) const {
    auto const& dx = std::get<0>(gradients);
    std::int64_t const c = dx.shape()[1], columns = grid * grid * c;
    fill(session.stream(), dx.data(), 0.0, dx.size());
    copy_columns(session.stream(), dx.shape()[0], columns, context.gradient.data(), columns, dx.data() + first * c,
                 dx.shape()[2] * c);
  }
};

}  // namespace ops

/// The means of x over grids of Grid x Grid bins each, read once: what pyramid_level<I> takes.
template <int... Grid>
struct Pyramid {
  static_assert(sizeof...(Grid) >= 1 && sizeof...(Grid) <= PyramidGeometry::most_grids,
                "mixprec: Pyramid: it has one to four grids. Pool to fewer at once.");
  static_assert(((Grid > 0) && ...), "mixprec: Pyramid: a grid has at least one row and column. Give 1 or more.");
  static_assert(2 * (Grid + ...) <= PyramidGeometry::most_bounds,
                "mixprec: Pyramid: the grids have more than 32 rows together. Pool to fewer or coarser grids at once.");

  /// (N,C,H,W) -> (N,C,bins,1).
  static constexpr auto pool(any_value auto const& x) {
    return apply(ops::PyramidPool{{}, static_cast<int>(sizeof...(Grid)), {Grid...}}, x.place(), x);
  }
  /// Grid `I` of pool()'s result: (N,C,bins,1) -> (N,C,G,G). torch.nn.AdaptiveAvgPool2d(G) of what was pooled.
  template <int I>
  static constexpr auto level(any_value auto const& pooled) {
    static_assert(I >= 0 && I < static_cast<int>(sizeof...(Grid)),
                  "mixprec: Pyramid: level: it has no grid of this number. Count its grids from 0.");
    constexpr PyramidGeometry geometry{0, 0, 0, 0, static_cast<int>(sizeof...(Grid)), {Grid...}};
    return apply(ops::PyramidLevel{{}, geometry.first_bin(I), geometry.grid[I]}, pooled.place(), pooled);
  }
};

}  // namespace mixprec::inline MIXPREC_ABI
