// SPDX-License-Identifier: Apache-2.0
// Cases for backend/*/resize, resize_cross_entropy and argmax. The oracle has PyTorch's formulas, in double.
#include <algorithm>
#include <utility>

#include <mixprec/backend/resize_geometry.hpp>

#include "harness.hpp"

namespace mixprec::test {
namespace {

struct Resizing {
  std::int64_t n, h, w, c, p, q;
  bool align_corners = false;

  ResizeGeometry geometry() const {
    return {n, c, ResizeAxis::of(h, p, align_corners), ResizeAxis::of(w, q, align_corners)};
  }
  std::int64_t inputs() const { return n * h * w * c; }
  std::int64_t pixels() const { return n * p * q; }
};

inline std::vector<Resizing> resizings() {
  return {{1, 1, 1, 1, 1, 1},     {2, 1, 1, 3, 4, 5},          {2, 6, 7, 19, 24, 28},     {1, 9, 20, 150, 36, 80},
          {1, 5, 6, 3, 5, 6},     {2, 13, 11, 16, 4, 5},       {1, 7, 9, 8, 15, 23},      {1, 3, 3, 2, 130, 101},
          {1, 20, 3, 5, 7, 40},   {2, 5, 4, 21, 17, 13, true}, {1, 6, 5, 33, 1, 9, true}, {1, 4, 40, 1000, 5, 41},
          {1, 33, 18, 40, 66, 36}};
}

/// Few pixels under many, whose gradients CUDA sums in parts.
inline std::vector<Resizing> enlargements() {
  return {{3, 1, 1, 21, 40, 37}, {2, 2, 3, 40, 64, 50}, {1, 6, 6, 5, 61, 90, true}};
}

/// The inputs of one output position along an axis, and their weights.
inline std::vector<std::pair<std::int64_t, double>> taps(std::int64_t in, std::int64_t out, bool align,
                                                         std::int64_t d) {
  using Wide = long double;
  Wide const scale = align ? (out > 1 ? static_cast<Wide>(in - 1) / static_cast<Wide>(out - 1) : 0)
                           : static_cast<Wide>(in) / static_cast<Wide>(out);
  Wide const half = align ? 0 : 0.5;
  Wide const position = std::max<Wide>(0, scale * (static_cast<Wide>(d) + half) - half);
  // A position that is a whole number in exact arithmetic may lie just below it here.
  std::int64_t const low = std::min(static_cast<std::int64_t>(position + 1e-12L), in - 1);
  double const high = static_cast<double>(std::max<Wide>(0, position - static_cast<Wide>(low)));
  return {{low, 1 - high}, {std::min(low + 1, in - 1), high}};
}

/// Calls body(output pixel, input pixel, weight) for the four inputs of each output.
template <class Body>
void for_each_tap(Resizing const& r, Body const& body) {
  for (std::int64_t n = 0; n < r.n; ++n)
    for (std::int64_t p = 0; p < r.p; ++p)
      for (std::int64_t q = 0; q < r.q; ++q)
        for (auto const& [h, down] : taps(r.h, r.p, r.align_corners, p))
          for (auto const& [w, right] : taps(r.w, r.q, r.align_corners, q))
            body((n * r.p + p) * r.q + q, (n * r.h + h) * r.w + w, down * right);
}

/// The resized values in double.
template <class T>
std::vector<double> resized(Resizing const& r, std::vector<T> const& x) {
  std::vector<double> y(static_cast<std::size_t>(r.pixels() * r.c));
  for_each_tap(r, [&](std::int64_t to, std::int64_t from, double weight) {
    for (std::int64_t j = 0; j < r.c; ++j) y[static_cast<std::size_t>(to * r.c + j)] += weight * at(x, from * r.c + j);
  });
  return y;
}

TEST_CASE("an axis of a resize: gaps hold the outputs between their inputs, weights add up to 1") {
  for (bool const align : {false, true})
    for (std::int64_t in = 1; in < 9; ++in)
      for (std::int64_t out = 1; out < 30; ++out) {
        ResizeAxis const axis = ResizeAxis::of(in, out, align);
        std::size_t wrong = axis.begin(0) == 0 && axis.begin(in) == out ? 0 : 1;
        for (std::int64_t d = 0; d < out; ++d) {
          ResizeAxis::Tap const tap = axis.tap(d);
          wrong += axis.begin(tap.low) <= d && d < axis.begin(tap.low + 1) ? 0 : 1;
          auto const wanted = taps(in, out, align, d);
          wrong += tap.low == wanted[0].first ? 0 : 1;
          wrong += std::abs(axis.fraction<double>(tap.rest) - wanted[1].second) * (tap.high != tap.low) < 1e-12 ? 0 : 1;
          double sum = 0;
          for (std::int64_t i = 0; i < in; ++i) sum += axis.weight<double>(d, i);
          wrong += std::abs(sum - 1) < 1e-12 ? 0 : 1;
        }
        CHECK_MESSAGE(wrong == 0, in << " to " << out << (align ? ", aligned" : ""));
      }
}

MIXPREC_KERNEL_TEST("resize interpolates, and its gradient is the transpose") {
  std::vector<Resizing> all = resizings();
  for (Resizing const& r : enlargements()) all.push_back(r);
  for (Resizing const& r : all) {
    INFO(r.h << " x " << r.w << " x " << r.c << " to " << r.p << " x " << r.q);
    for_each_dtype<TestBackend>([&]<class T>() {
      ResizeGeometry const g = r.geometry();
      auto const values = normal_values<T>(r.inputs(), 70), upstream = normal_values<T>(r.pixels() * r.c, 71);
      Buffer<TestBackend, T> x(stream, values), y(stream, g.outputs()), dy(stream, upstream), dx(stream, g.inputs());
      resize_forward(stream, g, static_cast<T const*>(x), y.get());
      resize_backward(stream, g, static_cast<T const*>(dy), dx.get());
      std::vector<Expected> results, gradients(values.size(), {0, 0});
      for (double const value : resized(r, values)) results.push_back({value, 32 * arithmetic<T>});
      for_each_tap(r, [&](std::int64_t to, std::int64_t from, double weight) {
        for (std::int64_t j = 0; j < r.c; ++j) {
          auto& gradient = gradients[static_cast<std::size_t>(from * r.c + j)];
          double const term = weight * at(upstream, to * r.c + j);
          gradient.value += term;
          gradient.error += sum_error<T>(4 * r.p * r.q / (r.h * r.w)) * std::abs(term);
        }
      });
      for (Expected& gradient : gradients) gradient.error += 32 * arithmetic<T>;
      check_close(y.read(), results);
      check_close(dx.read(), gradients);
    });
  }
}

MIXPREC_KERNEL_TEST("argmax finds the first largest class and lets NaN win") {
  for (std::int64_t const classes : {1, 2, 19, 150, 1001}) {
    for_each_dtype<TestBackend>([&]<class T>() {
      std::int64_t const rows = 37;
      auto values = normal_values<T>(rows * classes, 72);
      for (T& value : values) value = convert<T>(std::round(2 * convert<float>(value)));  // many equal elements
      values.back() = convert<T>(std::numeric_limits<float>::quiet_NaN());
      Buffer<TestBackend, T> x(stream, values);
      Buffer<TestBackend, std::int32_t> y(stream, rows);
      argmax(stream, rows, classes, static_cast<T const*>(x), y.get());
      std::vector<std::int32_t> expected;
      for (std::int64_t row = 0; row < rows; ++row) {
        std::int64_t best = 0;
        for (std::int64_t j = 1; j < classes; ++j) {
          double const value = at(values, row * classes + j), most = at(values, row * classes + best);
          if (value > most || (std::isnan(value) && !std::isnan(most))) best = j;
        }
        expected.push_back(static_cast<std::int32_t>(best));
      }
      check_same(y.read(), expected);
    });
  }
}

MIXPREC_KERNEL_TEST("argmax of a resize is that of the stored resize") {
  for (Resizing const& r : resizings()) {
    INFO(r.h << " x " << r.w << " x " << r.c << " to " << r.p << " x " << r.q);
    for_each_dtype<TestBackend>([&]<class T>() {
      ResizeGeometry const g = r.geometry();
      Buffer<TestBackend, T> x(stream, normal_values<T>(r.inputs(), 73)), y(stream, g.outputs());
      Buffer<TestBackend, std::int32_t> wanted(stream, r.pixels()), got(stream, r.pixels());
      resize_forward(stream, g, static_cast<T const*>(x), y.get());
      argmax(stream, r.pixels(), r.c, static_cast<T const*>(y), wanted.get());
      resize_argmax<T>(stream, g, static_cast<T const*>(x), got.get());
      check_same(got.read(), wanted.read());
    });
  }
}

MIXPREC_KERNEL_TEST("cross-entropy of a resize: log-sum-exp, weighted mean and gradient, bits that repeat") {
  for (Resizing const& r : resizings()) {
    for (bool const weighted : {false, true}) {
      INFO(r.h << " x " << r.w << " x " << r.c << " to " << r.p << " x " << r.q << (weighted ? ", weighted" : ""));
      for_each_dtype<TestBackend>([&]<class T>() {
        using A = accumulator_t<T>;
        std::int32_t const ignored = 255;
        ResizeGeometry const g = r.geometry();
        auto const values = normal_values<T>(r.inputs(), 74, 0, 3);
        std::mt19937 generator(75);
        std::uniform_int_distribution<std::int32_t> class_of(0, static_cast<std::int32_t>(r.c) - 1);
        std::vector<std::int32_t> labels;
        for (std::int64_t i = 0; i < r.pixels(); ++i) labels.push_back(i % 7 == 3 ? ignored : class_of(generator));
        std::vector<float> weights;
        for (std::int64_t j = 0; j < r.c; ++j) weights.push_back(0.5f + static_cast<float>(j % 4));

        auto const logits = resized(r, values);
        double total = 0, sum = 0, magnitude = 0;
        std::vector<Expected> log_sums;
        std::vector<double> shares;  // d loss / d resized logits, before the division by the total weight
        for (std::int64_t i = 0; i < r.pixels(); ++i) {
          double const* const row = logits.data() + i * r.c;
          std::int32_t const label = labels[static_cast<std::size_t>(i)];
          double const highest = *std::max_element(row, row + r.c);
          double exponentials = 0;
          for (std::int64_t j = 0; j < r.c; ++j) exponentials += std::exp(row[j] - highest);
          double const log_sum = highest + std::log(exponentials);
          bool const counts = label != ignored;
          double const weight = !counts    ? 0
                                : weighted ? static_cast<double>(weights[static_cast<std::size_t>(label)])
                                           : 1;
          log_sums.push_back(counts ? Expected{log_sum, 64 * arithmetic<T> * (1 + std::abs(highest))} : Expected{0, 0});
          for (std::int64_t j = 0; j < r.c; ++j)
            shares.push_back(weight * (std::exp(row[j] - log_sum) - (j == label ? 1 : 0)));
          total += weight;
          if (counts) sum += weight * (log_sum - row[label]), magnitude += weight * (16 + std::abs(log_sum));
        }
        double const upstream = 128;
        std::vector<Expected> gradients(values.size(), {0, 0});
        for_each_tap(r, [&](std::int64_t to, std::int64_t from, double weight) {
          for (std::int64_t j = 0; j < r.c; ++j) {
            auto& gradient = gradients[static_cast<std::size_t>(from * r.c + j)];
            double const term = weight * upstream / total * shares[static_cast<std::size_t>(to * r.c + j)];
            gradient.value += term;
            // Errors of the exponents, each of which is up to a few tens.
            gradient.error += (64 + sum_error<T>(r.p * r.q) / arithmetic<T>)*arithmetic<T> * std::abs(term);
          }
        });
        for (Expected& gradient : gradients) gradient.error += 64 * arithmetic<T> * upstream / total;

        Buffer<TestBackend, T> x(stream, values), dx(stream, g.inputs()), again(stream, g.inputs());
        Buffer<TestBackend, std::int32_t> target(stream, labels);
        Buffer<TestBackend, float> class_weight(stream, weights);
        Buffer<TestBackend, A> lse(stream, r.pixels()), total_weight(stream, 1), loss(stream, 1), loss_again(stream, 1);
        Buffer<TestBackend, A> dloss(stream, std::vector<A>{static_cast<A>(upstream)});
        float const* const w = weighted ? class_weight.get() : nullptr;
        auto const forward = [&](A* to) {
          resize_cross_entropy_forward(stream, g, static_cast<T const*>(x), static_cast<std::int32_t const*>(target), w,
                                       ignored, lse.get(), total_weight.get(), to);
        };
        auto const backward = [&](T* to) {
          resize_cross_entropy_backward(stream, g, static_cast<T const*>(x), static_cast<std::int32_t const*>(target),
                                        w, ignored, static_cast<A const*>(lse), static_cast<A const*>(total_weight),
                                        static_cast<A const*>(dloss), to);
        };
        forward(loss.get());
        backward(dx.get());
        forward(loss_again.get());
        backward(again.get());
        check_close(lse.read(), log_sums);
        check_close(total_weight.read(), {{total, sum_error<T>(r.pixels()) * total}});
        check_close(loss.read(), {{sum / total, sum_error<T>(r.pixels()) * magnitude / total}});
        check_close(dx.read(), gradients);
        check_same(loss_again.read(), loss.read());
        check_same(again.read(), dx.read());
      });
    }
  }
}

}  // namespace
}  // namespace mixprec::test
