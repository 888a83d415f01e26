// SPDX-License-Identifier: Apache-2.0
// Cross-entropy from logits and mean squared error, forward and backward; each is one launch.
#pragma once

#include <mixprec/backend/cuda/reduce.cuh>
#include <mixprec/backend/cuda/softmax.cuh>

namespace mixprec::inline MIXPREC_ABI::cuda {

namespace detail {

/// What a row counts: its class's weight, 0 where it is ignored, NaN where the target is no class, so that a wrong
/// label shows up in the loss instead of reading elsewhere.
__device__ inline float target_weight(std::int32_t target, std::int64_t classes, float const* class_weight,
                                      std::int32_t ignore_index) {
  if (target == ignore_index) return 0.0f;
  if (target < 0 || target >= classes) return __int_as_float(0x7fffffff);
  return class_weight == nullptr ? 1.0f : class_weight[target];
}

template <int Group, int W, class X>
__global__ void __launch_bounds__(softmax_threads)
    cross_entropy_forward_kernel(std::int64_t rows, std::int64_t classes, X const* logits, std::int32_t const* target,
                                 float const* class_weight, std::int32_t ignore_index, float* lse, float* total_weight,
                                 float* loss, float* partials, std::uint32_t* counter) {
  constexpr int groups = softmax_threads / Group;
  float sums[2] = {};
  for (std::int64_t row = std::int64_t{blockIdx.x} * groups + threadIdx.x / Group; row < rows;
       row += std::int64_t{gridDim.x} * groups) {
    X const* const x = logits + row * classes;
    RowExponentials const of = row_exponentials<Group, W>(x, classes);
    if (threadIdx.x % Group == 0) {
      float const log_sum = logf(of.sum);
      lse[row] = of.maximum + log_sum;
      std::int32_t const label = target[row];
      float const weight = target_weight(label, classes, class_weight, ignore_index);
      float const logit = label >= 0 && label < classes ? convert<float>(x[label]) : 0.0f;
      sums[0] += weight;
      if (label != ignore_index) sums[1] = fmaf(weight, of.maximum - logit + log_sum, sums[1]);
    }
  }
  grid_sum(sums, partials, counter, [=](float(&total)[2]) {
    total_weight[0] = total[0];
    loss[0] = total[1] / total[0];
  });
}

template <int Group, int W, class X>
__global__ void __launch_bounds__(softmax_threads)
    cross_entropy_backward_kernel(std::int64_t rows, std::int64_t classes, X const* logits, std::int32_t const* target,
                                  float const* class_weight, std::int32_t ignore_index, float const* lse,
                                  float const* total_weight, float const* dloss, X* dlogits) {
  std::int64_t const row = std::int64_t{blockIdx.x} * (softmax_threads / Group) + threadIdx.x / Group;
  if (row >= rows) return;
  X const* const x = logits + row * classes;
  X* const dx = dlogits + row * classes;
  std::int32_t const label = target[row];
  bool const ignored = label == ignore_index;
  float const factor =
      ignored ? 0.0f : target_weight(label, classes, class_weight, ignore_index) * (*dloss / *total_weight);
  float const row_lse = lse[row];
  for (std::int64_t i = static_cast<int>(threadIdx.x) % Group * W; i < classes; i += Group * W) {
    Vector<X, W> const in = load<W>(x + i);
    Vector<X, W> out;
#pragma unroll
    for (int j = 0; j < W; ++j) {
      float const probability = expf(convert<float>(in.element[j]) - row_lse);
      float const gradient = factor * (probability - (i + j == label ? 1.0f : 0.0f));
      out.element[j] = convert<X>(ignored ? 0.0f : gradient);
    }
    store<W>(dx + i, out);
  }
}

template <class X, class X2>
struct SquaredDifferences {
  X const* x;
  X2 const* target;
  template <int W>
  __device__ float over(std::int64_t i) const {
    Vector<X, W> const left = load<W>(x + i);
    Vector<X2, W> const right = load<W>(target + i);
    float sum = 0.0f;
#pragma unroll
    for (int j = 0; j < W; ++j) {
      float const difference = convert<float>(left.element[j]) - convert<float>(right.element[j]);
      sum = fmaf(difference, difference, sum);
    }
    return sum;
  }
};

struct ScaledDifference {
  float factor;
  __device__ float operator()(float x, float target) const { return factor * (x - target); }
};
struct MseBackward {
  float const* dloss;
  float factor;
  __device__ ScaledDifference ready() const { return {*dloss * factor}; }
};

}  // namespace detail

/// loss = sum of weight[target] * (lse - logits[target]) over sum of weight[target], rows whose target is
/// `ignore_index` left out; NaN where no row is left, as in PyTorch, and where a target is no class. `lse` and
/// `total_weight` are what backward needs. Shapes: logits (rows, classes), target and lse (rows), class_weight
/// (classes) or nullptr. Precision: float, sums in a fixed order.
template <floating_dtype X>
void cross_entropy_forward(Stream& stream, std::int64_t rows, std::int64_t classes, X const* logits,
                           std::int32_t const* target, float const* class_weight, std::int32_t ignore_index, float* lse,
                           float* total_weight, float* loss) {
  unsigned const most = 4u * static_cast<unsigned>(stream.multiprocessors());
  std::uint32_t* const counter = stream.attached<detail::Counters>().data();
  auto const partials = static_cast<float*>(stream.scratch(2 * sizeof(float) * most));
  detail::for_rows<detail::vector_width<X>>(
      "cross_entropy_forward", std::max<std::int64_t>(rows, 1), classes, [&]<int group, int width>(unsigned blocks) {
        detail::launch(stream, "cross_entropy_forward", std::min(blocks, most), detail::softmax_threads,
                       detail::cross_entropy_forward_kernel<group, width, X>, rows, classes, logits, target,
                       class_weight, ignore_index, lse, total_weight, loss, partials, counter);
      });
}

/// dlogits = dloss * weight[target] / total_weight * (exp(logits - lse) - onehot(target)); 0 in ignored rows.
template <floating_dtype X>
void cross_entropy_backward(Stream& stream, std::int64_t rows, std::int64_t classes, X const* logits,
                            std::int32_t const* target, float const* class_weight, std::int32_t ignore_index,
                            float const* lse, float const* total_weight, float const* dloss, X* dlogits) {
  detail::for_rows<detail::vector_width<X>>(
      "cross_entropy_backward", rows, classes, [&]<int group, int width>(unsigned blocks) {
        detail::launch(stream, "cross_entropy_backward", blocks, detail::softmax_threads,
                       detail::cross_entropy_backward_kernel<group, width, X>, rows, classes, logits, target,
                       class_weight, ignore_index, lse, total_weight, dloss, dlogits);
      });
}

/// loss = mean of (x - target)^2. Precision: float, sums in a fixed order.
template <floating_dtype X, floating_dtype X2>
void mse_forward(Stream& stream, X const* x, X2 const* target, std::int64_t n, float* loss) {
  detail::total<detail::vector_width<X, X2>>(stream, "mse_forward", detail::SquaredDifferences<X, X2>{x, target}, n,
                                             1.0 / static_cast<double>(n), loss);
}

/// dx = dloss * 2 / n * (x - target).
template <floating_dtype X, floating_dtype X2>
void mse_backward(Stream& stream, X const* x, X2 const* target, std::int64_t n, float const* dloss, X* dx) {
  detail::zip(stream, "mse_backward", detail::MseBackward{dloss, static_cast<float>(2.0 / static_cast<double>(n))}, n,
              x, target, dx);
}

}  // namespace mixprec::inline MIXPREC_ABI::cuda
