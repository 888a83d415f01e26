// SPDX-License-Identifier: Apache-2.0
// Cases for backend/*/reduce, softmax and loss.
#include "harness.hpp"

namespace mixprec::test {
namespace {

MIXPREC_KERNEL_TEST("sum and column_sum add every element once and broadcast_scalar is their backward") {
  for (std::int64_t const rows : {1, 3, 17, 1025, 5003}) {
    for (std::int64_t const cols : {1, 10, 65}) {
      for_each_dtype<TestBackend>([&]<class T>() {
        std::int64_t const n = rows * cols;
        auto const values = normal_values<T>(n, 10, 0.5);
        Buffer<TestBackend, T> x(stream, values), columns(stream, cols), spread(stream, n);
        Buffer<TestBackend, float> total(stream, 1);
        column_sum(stream, rows, cols, static_cast<T const*>(x), columns.get());
        sum(stream, static_cast<T const*>(x), n, 1.0 / static_cast<double>(n), total.get());
        broadcast_scalar(stream, static_cast<T const*>(x), 0.25, spread.get(), n);
        std::vector<Expected> per_column(static_cast<std::size_t>(cols)), whole(1);
        for (std::int64_t i = 0; i < n; ++i) {
          auto& column = per_column[static_cast<std::size_t>(i % cols)];
          column.value += at(values, i);
          column.error += sum_error<T>(rows) * std::abs(at(values, i));
          whole[0].value += at(values, i) / static_cast<double>(n);
          whole[0].error += sum_error<T>(n) * std::abs(at(values, i)) / static_cast<double>(n);
        }
        check_close(columns.read(), per_column);
        check_close(total.read(), whole);
        check_close(spread.read(), std::vector<Expected>(static_cast<std::size_t>(n), {0.25 * at(values, 0)}));
      });
    }
  }
}

MIXPREC_KERNEL_TEST("softmax and log-softmax and their gradients match the definition, for large logits too") {
  for (bool const log : {false, true}) {
    for (std::int64_t const cols : {1, 3, 17, 1025}) {
      for_each_dtype<TestBackend>([&]<class T>() {
        std::int64_t const rows = 19, n = rows * cols;
        auto const values = normal_values<T>(n, 11, 50, 5), upstream = normal_values<T>(n, 12);
        Buffer<TestBackend, T> x(stream, values), y(stream, n), dy(stream, upstream), dx(stream, n);
        softmax_forward(stream, rows, cols, log, static_cast<T const*>(x), y.get());
        auto const results = y.read();
        softmax_backward(stream, rows, cols, log, static_cast<T const*>(y), static_cast<T const*>(dy), dx.get());
        std::vector<Expected> expected, gradients;
        for (std::int64_t row = 0; row < rows; ++row) {
          double largest = at(values, row * cols), total = 0, dot = 0, magnitude = 0;
          for (std::int64_t j = 0; j < cols; ++j) largest = std::max(largest, at(values, row * cols + j));
          for (std::int64_t j = 0; j < cols; ++j) {
            std::int64_t const i = row * cols + j;
            total += std::exp(at(values, i) - largest);
            double const term = log ? at(upstream, i) : at(results, i) * at(upstream, i);
            dot += term;
            magnitude += std::abs(term);
          }
          for (std::int64_t j = 0; j < cols; ++j) {
            std::int64_t const i = row * cols + j;
            double const logit = at(values, i) - largest - std::log(total), result = at(results, i);
            double const error = 8 * arithmetic<T> * (1 + std::abs(at(values, i) - largest)) + sum_error<T>(cols);
            expected.push_back(log ? Expected{logit, error} : Expected{std::exp(logit), error * std::exp(logit)});
            double const factor = log ? std::exp(result) : result;
            double const gradient = log ? at(upstream, i) - factor * dot : factor * (at(upstream, i) - dot);
            double const slack = log ? 1.0 + std::abs(result) : 1.0;
            gradients.push_back({gradient, factor * magnitude * (sum_error<T>(cols) + 4 * arithmetic<T> * slack) +
                                               4 * arithmetic<T> * std::abs(at(upstream, i))});
          }
        }
        check_close(results, expected);
        check_close(dx.read(), gradients);
      });
    }
  }
}

struct CrossEntropyCase {
  std::int64_t rows, classes;
  bool weighted;
  std::int32_t ignore_every;  // rows whose index is a multiple are ignored; 0: none
};

template <class T, class Stream>
void check_cross_entropy(Stream& stream, CrossEntropyCase const& test) {
  using Acc = accumulator_t<T>;
  std::int32_t const ignored = -100;
  std::int64_t const n = test.rows * test.classes;
  auto const logits = normal_values<T>(n, 13, 10, 3);
  std::vector<std::int32_t> target;
  std::vector<float> weights;
  for (std::int64_t row = 0; row < test.rows; ++row) {
    bool const skip = test.ignore_every != 0 && row % test.ignore_every == 0;
    target.push_back(skip ? ignored : static_cast<std::int32_t>(row * 7 % test.classes));
  }
  for (std::int64_t j = 0; j < test.classes; ++j) weights.push_back(0.5f + 0.25f * static_cast<float>(j % 5));
  Buffer<TestBackend, T> x(stream, logits), dx(stream, n);
  Buffer<TestBackend, std::int32_t> labels(stream, target);
  Buffer<TestBackend, float> class_weight(stream, weights);
  Buffer<TestBackend, Acc> lse(stream, test.rows), total(stream, 1), loss(stream, 1);
  Buffer<TestBackend, Acc> dloss(stream, std::vector<Acc>{Acc(512)});
  float const* const weight = test.weighted ? class_weight.get() : nullptr;
  cross_entropy_forward(stream, test.rows, test.classes, static_cast<T const*>(x),
                        static_cast<std::int32_t const*>(labels), weight, ignored, lse.get(), total.get(), loss.get());
  cross_entropy_backward(stream, test.rows, test.classes, static_cast<T const*>(x),
                         static_cast<std::int32_t const*>(labels), weight, ignored, static_cast<Acc const*>(lse),
                         static_cast<Acc const*>(total), static_cast<Acc const*>(dloss), dx.get());

  std::vector<double> log_sums;
  double total_loss = 0, total_weight = 0;
  auto const weight_of = [&](std::int64_t row) {
    auto const label = target[static_cast<std::size_t>(row)];
    return label == ignored ? 0.0 : test.weighted ? at(weights, label) : 1.0;
  };
  for (std::int64_t row = 0; row < test.rows; ++row) {
    double exponentials = 0;
    for (std::int64_t j = 0; j < test.classes; ++j) exponentials += std::exp(at(logits, row * test.classes + j));
    log_sums.push_back(std::log(exponentials));
    if (weight_of(row) == 0) continue;
    auto const label = target[static_cast<std::size_t>(row)];
    total_loss += weight_of(row) * (log_sums.back() - at(logits, row * test.classes + label));
    total_weight += weight_of(row);
  }
  // Errors of the logarithm of a sum near 20, of the mean, and of exp(x - lse).
  double const lse_error = 64 * arithmetic<T> + sum_error<T>(test.classes);
  std::vector<Expected> gradients;
  for (std::int64_t i = 0; i < n; ++i) {
    std::int64_t const row = i / test.classes;
    double const probability = std::exp(at(logits, i) - log_sums[static_cast<std::size_t>(row)]);
    double const hot = i % test.classes == target[static_cast<std::size_t>(row)] ? 1 : 0;
    double const scale = weight_of(row) == 0 ? 0 : weight_of(row) * 512 / total_weight;
    gradients.push_back({(probability - hot) * scale, scale * (probability * 2 * lse_error + 4 * arithmetic<T>)});
  }
  std::vector<Expected> expected_lse;
  for (double const value : log_sums) expected_lse.push_back({value, lse_error});
  check_close(lse.read(), expected_lse);
  check_close(total.read(), {{total_weight, sum_error<T>(test.rows) * total_weight}});
  check_close(loss.read(), {{total_loss / total_weight, lse_error + sum_error<T>(test.rows) * 30}});
  check_close(dx.read(), gradients);
}

MIXPREC_KERNEL_TEST("cross-entropy matches the definition with ignored rows and class weights") {
  for_each_dtype<TestBackend>([&]<class T>() {
    for (std::int64_t const rows : {1, 17, 1025}) {
      for (std::int64_t const classes : {3, 10, 129}) {
        check_cross_entropy<T>(stream, {rows, classes, false, 0});
        check_cross_entropy<T>(stream, {rows, classes, true, 3});
      }
    }
  });
}

MIXPREC_KERNEL_TEST("cross-entropy of ignored rows only is NaN and its gradient zero, as in PyTorch") {
  for_each_dtype<TestBackend>([&]<class T>() { check_cross_entropy<T>(stream, {5, 10, true, 1}); });
}

MIXPREC_KERNEL_TEST("mean squared error and its gradient match the definition") {
  for (std::int64_t const n : odd_sizes()) {
    for_each_dtype<TestBackend>([&]<class T>() {
      using Acc = accumulator_t<T>;
      auto const values = normal_values<T>(n, 14);
      auto const wanted = normal_values<float>(n, 15);
      Buffer<TestBackend, T> x(stream, values), dx(stream, n);
      Buffer<TestBackend, float> target(stream, wanted);
      Buffer<TestBackend, Acc> loss(stream, 1), dloss(stream, std::vector<Acc>{Acc(3)});
      mse_forward(stream, static_cast<T const*>(x), static_cast<float const*>(target), n, loss.get());
      mse_backward(stream, static_cast<T const*>(x), static_cast<float const*>(target), n,
                   static_cast<Acc const*>(dloss), dx.get());
      double total = 0;
      std::vector<Expected> gradients;
      for (std::int64_t i = 0; i < n; ++i) {
        double const difference = at(values, i) - at(wanted, i), factor = 6 / static_cast<double>(n);
        total += difference * difference / static_cast<double>(n);
        gradients.push_back({factor * difference, 4 * arithmetic<T> * factor * std::abs(difference)});
      }
      check_close(loss.read(), {{total, sum_error<T>(n) * total}});
      check_close(dx.read(), gradients);
    });
  }
}

}  // namespace
}  // namespace mixprec::test
