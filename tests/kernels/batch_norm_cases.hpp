// SPDX-License-Identifier: Apache-2.0
// Cases for backend/*/batch_norm.
#include "harness.hpp"

namespace mixprec::test {
namespace {

struct Matrix {
  std::int64_t rows, c;
};
inline std::vector<Matrix> batch_norm_shapes() { return {{2, 1}, {17, 3}, {1025, 13}, {600, 64}, {3001, 7}}; }

/// Mean and biased variance of each column. In long double, so that the oracle is better than the double kernel.
template <class T>
void column_moments(std::vector<T> const& x, Matrix shape, std::vector<double>& mean, std::vector<double>& variance) {
  auto const c = static_cast<std::size_t>(shape.c);
  std::vector<long double> sum(c, 0), squares(c, 0);
  for (std::size_t i = 0; i < x.size(); ++i) sum[i % c] += static_cast<long double>(convert<double>(x[i])) / shape.rows;
  for (std::size_t i = 0; i < x.size(); ++i) {
    long double const deviation = static_cast<long double>(convert<double>(x[i])) - sum[i % c];
    squares[i % c] += deviation * deviation / shape.rows;
  }
  mean.assign(sum.begin(), sum.end());
  variance.assign(squares.begin(), squares.end());
}

MIXPREC_KERNEL_TEST("batch norm's statistics are accurate for a mean a thousand deviations from zero") {
  double const eps = 1e-5, momentum = 0.1;
  for (Matrix const shape : batch_norm_shapes()) {
    for (double const centre : {0.0, 1000.0}) {
      for_each_dtype<TestBackend>([&]<class T>() {
        using Acc = accumulator_t<T>;
        auto values = normal_values<T>(shape.rows * shape.c, 20, centre);
        values[0] = convert<T>(centre + 200);  // an outlier in the row that a shifted sum would take as its shift
        std::vector<double> mean, variance;
        column_moments(values, shape, mean, variance);
        auto const old_mean = normal_values<Acc>(shape.c, 21), old_var = normal_values<Acc>(shape.c, 22, 5, 0.1);
        Buffer<TestBackend, T> x(stream, values);
        Buffer<TestBackend, Acc> batch_mean(stream, shape.c), invstd(stream, shape.c), evaluation(stream, shape.c);
        Buffer<TestBackend, Acc> running_mean(stream, old_mean), running_var(stream, old_var);
        batch_norm_statistics(stream, shape.rows, shape.c, static_cast<T const*>(x), eps, batch_mean.get(),
                              invstd.get(), running_mean.get(), running_var.get(), momentum);
        batch_norm_invstd(stream, shape.c, static_cast<Acc const*>(running_var), eps, evaluation.get());
        auto const new_var = running_var.read();
        std::vector<Expected> means, inverses, running_means, running_vars, evaluations;
        for (std::int64_t j = 0; j < shape.c; ++j) {
          auto const at_j = static_cast<std::size_t>(j);
          // A shift inside a block of 256 rows costs at most a factor of 256 over the error of the sum itself; the
          // mean is rounded where blocks are merged and where it is stored.
          double const relative = 256 * sum_error<T>(16);
          double const mean_error = 8 * arithmetic<T> * std::abs(mean[at_j]) + relative * std::sqrt(variance[at_j]);
          double const n = static_cast<double>(shape.rows), unbiased = variance[at_j] * n / (n - 1);
          double const inverse = 1 / std::sqrt(variance[at_j] + eps);
          means.push_back({mean[at_j], mean_error});
          inverses.push_back({inverse, relative * inverse});
          running_means.push_back({0.9 * at(old_mean, j) + 0.1 * mean[at_j], mean_error + 2 * arithmetic<T>});
          running_vars.push_back({0.9 * at(old_var, j) + 0.1 * unbiased, relative * unbiased + 16 * arithmetic<T>});
          evaluations.push_back({1 / std::sqrt(at(new_var, j) + eps), 4 * arithmetic<T>});
        }
        check_close(batch_mean.read(), means);
        check_close(invstd.read(), inverses);
        check_close(running_mean.read(), running_means);
        check_close(new_var, running_vars);
        check_close(evaluation.read(), evaluations);
      });
    }
  }
}

MIXPREC_KERNEL_TEST("a NaN or an infinity in a channel makes NaN of its statistics, and of no other channel's") {
  double const bad_values[] = {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity()};
  for (Matrix const shape : batch_norm_shapes()) {
    for (double const bad : bad_values) {
      for_each_dtype<TestBackend>([&]<class T>() {
        using Acc = accumulator_t<T>;
        std::int64_t const wrong = shape.c / 2;
        auto values = normal_values<T>(shape.rows * shape.c, 47);
        values[static_cast<std::size_t>(shape.rows / 2 * shape.c + wrong)] = convert<T>(bad);
        Buffer<TestBackend, T> x(stream, values);
        Buffer<TestBackend, Acc> mean(stream, shape.c), invstd(stream, shape.c);
        Buffer<TestBackend, Acc> running_mean(stream, normal_values<Acc>(shape.c, 48)),
            running_var(stream, normal_values<Acc>(shape.c, 49, 5, 0.1));
        batch_norm_statistics(stream, shape.rows, shape.c, static_cast<T const*>(x), 1e-5, mean.get(), invstd.get(),
                              running_mean.get(), running_var.get(), 0.1);
        auto const invstds = invstd.read(), means = running_mean.read(), variances = running_var.read();
        for (std::int64_t j = 0; j < shape.c; ++j) {
          CAPTURE(j);
          CHECK(std::isfinite(at(means, j)) == (j != wrong));
          CHECK(std::isnan(at(variances, j)) == (j == wrong));
          CHECK(std::isnan(at(invstds, j)) == (j == wrong));
        }
        if (std::isnan(bad)) CHECK(std::isnan(at(means, wrong)));
      });
    }
  }
}

MIXPREC_KERNEL_TEST("batch norm's forward matches the definition and leaves running statistics alone when null") {
  for (Matrix const shape : batch_norm_shapes()) {
    for_each_dtype<TestBackend>([&]<class T>() {
      using Acc = accumulator_t<T>;
      std::int64_t const n = shape.rows * shape.c;
      auto const values = normal_values<T>(n, 23, 3), scales = normal_values<T>(shape.c, 24, 1, 0.2);
      auto const offsets = normal_values<float>(shape.c, 25);
      Buffer<TestBackend, T> x(stream, values), y(stream, n);
      std::vector<float> const weights_host = [&] {
        std::vector<float> widened;
        for (T const scale : scales) widened.push_back(convert<float>(scale));
        return widened;
      }();
      Buffer<TestBackend, float> weight(stream, weights_host), bias(stream, offsets);
      Buffer<TestBackend, Acc> mean(stream, shape.c), invstd(stream, shape.c);
      batch_norm_statistics(stream, shape.rows, shape.c, static_cast<T const*>(x), 1e-5, mean.get(), invstd.get(),
                            static_cast<Acc*>(nullptr), static_cast<Acc*>(nullptr), 0.1);
      batch_norm_forward(stream, shape.rows, shape.c, static_cast<T const*>(x), static_cast<Acc const*>(mean),
                         static_cast<Acc const*>(invstd), static_cast<float const*>(weight),
                         static_cast<float const*>(bias), static_cast<T const*>(nullptr), false, y.get());
      auto const means = mean.read(), inverses = invstd.read();
      std::vector<Expected> expected;
      for (std::int64_t i = 0; i < n; ++i) {
        std::int64_t const j = i % shape.c;
        double const scaled = (at(values, i) - at(means, j)) * at(inverses, j) * at(weights_host, j);
        expected.push_back(
            {scaled + at(offsets, j), 4 * arithmetic<T> * (std::abs(scaled) + std::abs(at(offsets, j)) + 4)});
      }
      check_close(y.read(), expected);
    });
  }
}

MIXPREC_KERNEL_TEST("batch norm fused with residual and ReLU gives the bits of the three kernels one by one") {
  for (Matrix const shape : batch_norm_shapes()) {
    for_each_dtype<TestBackend>([&]<class T>() {
      using Acc = accumulator_t<T>;
      std::int64_t const n = shape.rows * shape.c;
      Buffer<TestBackend, T> x(stream, normal_values<T>(n, 26)), residual(stream, normal_values<T>(n, 27));
      Buffer<TestBackend, Acc> mean(stream, normal_values<Acc>(shape.c, 28)),
          invstd(stream, normal_values<Acc>(shape.c, 29, 1, 0.1));
      Buffer<TestBackend, float> weight(stream, normal_values<float>(shape.c, 30)),
          bias(stream, normal_values<float>(shape.c, 31));
      auto const forward = [&](T const* added, bool relu, T* y) {
        batch_norm_forward(stream, shape.rows, shape.c, static_cast<T const*>(x), static_cast<Acc const*>(mean),
                           static_cast<Acc const*>(invstd), static_cast<float const*>(weight),
                           static_cast<float const*>(bias), added, relu, y);
      };
      Buffer<TestBackend, T> plain(stream, n), summed(stream, n), rectified(stream, n), only_relu(stream, n);
      Buffer<TestBackend, T> fused(stream, n), fused_sum(stream, n), fused_relu(stream, n);
      forward(nullptr, false, plain);
      add(stream, static_cast<T const*>(plain), static_cast<T const*>(residual), summed.get(), n);
      relu_forward(stream, static_cast<T const*>(summed), rectified.get(), n);
      relu_forward(stream, static_cast<T const*>(plain), only_relu.get(), n);
      forward(residual, true, fused);
      forward(residual, false, fused_sum);
      forward(nullptr, true, fused_relu);
      check_same(fused.read(), rectified.read());
      check_same(fused_sum.read(), summed.read());
      check_same(fused_relu.read(), only_relu.read());
    });
  }
}

MIXPREC_KERNEL_TEST("batch norm's gradients match the definition, with and without ReLU and batch statistics") {
  for (Matrix const shape : batch_norm_shapes()) {
    for (int const mode : {0, 1, 2, 3}) {
      bool const relu = (mode & 1) != 0, batch = (mode & 2) != 0;
      for_each_dtype<TestBackend>([&]<class T>() {
        using Acc = accumulator_t<T>;
        std::int64_t const n = shape.rows * shape.c;
        double const rows = static_cast<double>(shape.rows);
        auto const values = normal_values<T>(n, 32), upstream = normal_values<T>(n, 33);
        auto const results = normal_values<T>(n, 34);  // any y will do: only its sign is read
        auto const means = normal_values<Acc>(shape.c, 35, 0, 0.1), inverses = normal_values<Acc>(shape.c, 36, 1, 0.1);
        auto const weights = normal_values<float>(shape.c, 37);
        Buffer<TestBackend, T> x(stream, values), dy(stream, upstream), y(stream, results), dx(stream, n);
        Buffer<TestBackend, T> dresidual(stream, n), dx_alone(stream, n), dresidual_alone(stream, n);
        Buffer<TestBackend, Acc> mean(stream, means), invstd(stream, inverses);
        Buffer<TestBackend, float> weight(stream, weights);
        Buffer<TestBackend, T> dweight(stream, shape.c), dbias(stream, shape.c);
        auto const backward = [&](T* to_x, T* to_residual, T* to_weight, T* to_bias) {
          batch_norm_backward(
              stream, shape.rows, shape.c, static_cast<T const*>(x), relu ? static_cast<T const*>(y) : nullptr,
              static_cast<T const*>(dy), static_cast<Acc const*>(mean), static_cast<Acc const*>(invstd),
              static_cast<float const*>(weight), nullptr, relu, batch, to_x, to_residual, to_weight, to_bias);
        };
        backward(dx, dresidual, dweight, dbias);
        backward(dx_alone, nullptr, nullptr, nullptr);
        backward(nullptr, dresidual_alone, nullptr, nullptr);

        auto const columns = static_cast<std::size_t>(shape.c);
        std::vector<double> sum_g(columns), sum_gx(columns), size_g(columns), size_gx(columns);
        auto const g_of = [&](std::int64_t i) { return relu && !(at(results, i) > 0) ? 0.0 : at(upstream, i); };
        auto const xhat_of = [&](std::int64_t i) {
          return (at(values, i) - at(means, i % shape.c)) * at(inverses, i % shape.c);
        };
        for (std::int64_t i = 0; i < n; ++i) {
          auto const j = static_cast<std::size_t>(i % shape.c);
          sum_g[j] += g_of(i);
          size_g[j] += std::abs(g_of(i));
          sum_gx[j] += g_of(i) * xhat_of(i);
          size_gx[j] += std::abs(g_of(i) * xhat_of(i));
        }
        double const error = sum_error<T>(shape.rows);
        std::vector<Expected> dxs, residuals, dweights, dbiases;
        for (std::size_t j = 0; j < columns; ++j) {
          dweights.push_back({sum_gx[j], error * size_gx[j]});
          dbiases.push_back({sum_g[j], error * size_g[j]});
        }
        for (std::int64_t i = 0; i < n; ++i) {
          auto const j = static_cast<std::size_t>(i % shape.c);
          double const scale = at(weights, i % shape.c) * at(inverses, i % shape.c);
          double const centred = batch ? g_of(i) - sum_g[j] / rows - xhat_of(i) * sum_gx[j] / rows : g_of(i);
          double const size = std::abs(g_of(i)) + size_g[j] / rows + (1 + std::abs(xhat_of(i))) * size_gx[j] / rows;
          dxs.push_back({scale * centred, std::abs(scale) * (error + 4 * arithmetic<T>)*size});
          residuals.push_back({g_of(i)});
        }
        check_close(dx.read(), dxs);
        check_close(dx_alone.read(), dxs);
        check_close(dresidual.read(), residuals);
        check_close(dresidual_alone.read(), residuals);
        check_close(dweight.read(), dweights);
        check_close(dbias.read(), dbiases);
      });
    }
  }
}

MIXPREC_KERNEL_TEST("batch norm's backward finds relu's sign from x as it finds it in y, bit for bit") {
  for (Matrix const shape : batch_norm_shapes()) {
    for_each_dtype<TestBackend>([&]<class T>() {
      using Acc = accumulator_t<T>;
      std::int64_t const n = shape.rows * shape.c;
      auto const values = normal_values<T>(n, 41);
      auto const means = normal_values<Acc>(shape.c, 43, 0, 0.1), inverses = normal_values<Acc>(shape.c, 44, 1, 0.1);
      auto const weights = normal_values<float>(shape.c, 45);
      // A row of every channel cancels up to rounding, which then decides about the sign.
      auto biases = normal_values<float>(shape.c, 46);
      for (std::int64_t j = 0; n > 0 && j < shape.c; ++j) {
        auto const at = static_cast<std::size_t>(j);
        Acc const scale = inverses[at] * convert<Acc>(weights[at]);
        biases[at] = static_cast<float>(-(convert<Acc>(values[at]) - means[at]) * scale);
      }
      Buffer<TestBackend, T> x(stream, values), dy(stream, normal_values<T>(n, 42)), y(stream, n);
      Buffer<TestBackend, Acc> mean(stream, means), invstd(stream, inverses);
      Buffer<TestBackend, float> weight(stream, weights), bias(stream, biases);
      batch_norm_forward(stream, shape.rows, shape.c, static_cast<T const*>(x), static_cast<Acc const*>(mean),
                         static_cast<Acc const*>(invstd), static_cast<float const*>(weight),
                         static_cast<float const*>(bias), static_cast<T const*>(nullptr), true, y.get());
      Buffer<TestBackend, T> dx[2]{{stream, n}, {stream, n}};
      Buffer<TestBackend, float> dweight[2]{{stream, shape.c}, {stream, shape.c}};
      Buffer<TestBackend, float> dbias[2]{{stream, shape.c}, {stream, shape.c}};
      for (int from_x = 0; from_x < 2; ++from_x) {
        batch_norm_backward(stream, shape.rows, shape.c, static_cast<T const*>(x),
                            from_x == 1 ? nullptr : static_cast<T const*>(y), static_cast<T const*>(dy),
                            static_cast<Acc const*>(mean), static_cast<Acc const*>(invstd),
                            static_cast<float const*>(weight), from_x == 1 ? static_cast<float const*>(bias) : nullptr,
                            true, true, dx[from_x].get(), nullptr, dweight[from_x].get(), dbias[from_x].get());
      }
      check_same(dx[1].read(), dx[0].read());
      check_same(dweight[1].read(), dweight[0].read());
      check_same(dbias[1].read(), dbias[0].read());
    });
  }
}

}  // namespace
}  // namespace mixprec::test
