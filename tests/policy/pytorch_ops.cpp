// SPDX-License-Identifier: Apache-2.0
// The library's own ops under PyTorchAmp against what torch.autocast("cuda") returns, op by op. Source of the lists:
// PyTorch, aten/src/ATen/autocast_mode.h; an op on no list runs in its input's dtype or promotes by itself.
#include <doctest/doctest.h>

#include <mixprec/nn/containers.hpp>
#include <mixprec/ops/concat.hpp>
#include <mixprec/ops/loss.hpp>
#include <mixprec/ops/reduce.hpp>
#include <mixprec/ops/resize.hpp>
#include <policy/classes.hpp>

using namespace mixprec;
using namespace mixprec_test;

namespace {

using Labels = Tensor<Meta, std::int32_t, 1>;
using CrossEntropy = ops::CrossEntropy<Labels, Tensor<Meta, float, 1>>;

/// What autocast to float16 returns for an input of float16, float32 and float64.
template <class Op>
constexpr bool returns(DType of_float16, DType of_float32, DType of_float64) {
  using Policy = PyTorchAmp<float16>;
  return resolve<Policy, Op>(f16).result == of_float16 && resolve<Policy, Op>(f32).result == of_float32 &&
         resolve<Policy, Op>(f64).result == of_float64;
}
template <class... Op>
constexpr bool lower_precision = (returns<Op>(f16, f16, f64) && ...);
template <class... Op>
constexpr bool in_float = (returns<Op>(f32, f32, f64) && ...);
template <class... Op>
constexpr bool as_input = (returns<Op>(f16, f32, f64) && ...);

static_assert(lower_precision<ops::Matmul, ops::Linear, ops::Conv2d>);
static_assert(in_float<ops::Softmax, ops::LogSoftmax, CrossEntropy, ops::MseLoss, ops::Sum, ops::Resize>);
static_assert(as_input<ops::Mean, ops::Relu, ops::Add, ops::Mul, ops::MaxPool2d, ops::AvgPool2d, ops::GlobalAvgPool2d,
                       ops::Flatten, ops::Unflatten, ops::Permute<4>, ops::Dropout, ops::BatchNorm<false, false>>);

// Ops that do not declare stores_operand, as ops::Resize does: Amp's dtypes are PyTorchAmp's. An op that comes to
// declare it leaves this list, and the sentences at Amp and in docs/policies.md change.
template <class... Op>
constexpr bool same_under_amp = ([] {
  for (DType const dtype : widest)
    if (!(resolve<Amp<float16>, Op>(dtype) == resolve<PyTorchAmp<float16>, Op>(dtype))) return false;
  return true;
}() && ...);
static_assert(same_under_amp<ops::Matmul, ops::Linear, ops::Conv2d, ops::Softmax, ops::LogSoftmax, CrossEntropy,
                             ops::MseLoss, ops::Sum, ops::Mean, ops::Relu, ops::Add, ops::Mul, ops::MaxPool2d,
                             ops::AvgPool2d, ops::GlobalAvgPool2d, ops::Flatten, ops::Unflatten, ops::Permute<4>,
                             ops::Dropout, ops::Concat, ops::BatchNorm<false, false>>);

// Native promotion of mixed operands: torch.result_type(float16, bfloat16) is float32.
template <class A, class B>
using Sum = decltype(std::declval<Value<Meta, A, 2, dynamic_channels, PyTorchAmp<float16>> const&>() +
                     std::declval<Value<Meta, B, 2, dynamic_channels, PyTorchAmp<float16>> const&>());
template <class A, class B, class Expected>
constexpr bool adds_to =
    std::is_same_v<typename Sum<A, B>::dtype, Expected>&& std::is_same_v<typename Sum<B, A>::dtype, Expected>;
static_assert(adds_to<float16, float16, float16> && adds_to<float16, bfloat16, float> &&
              adds_to<float16, float, float>);
static_assert(adds_to<bfloat16, bfloat16, bfloat16> && adds_to<bfloat16, float, float> &&
              adds_to<float16, double, double>);

// A residual block in one line: the sum of a convolution's result and a float shortcut is float, and relu keeps it.
template <class X>
using Block = decltype(relu(matmul(std::declval<X>(), std::declval<X>()) + std::declval<X>()));
static_assert(
    std::is_same_v<typename Block<Value<Meta, float, 2, dynamic_channels, PyTorchAmp<float16>>>::dtype, float>);
static_assert(
    std::is_same_v<typename Block<Value<Meta, float16, 2, dynamic_channels, PyTorchAmp<float16>>>::dtype, float16>);
static_assert(std::is_same_v<typename Block<Value<Meta, float, 2, dynamic_channels, Mmcv<float16>>>::dtype, float16>);

// A cast says itself what it stores, in a forced region too.
using Forced = Value<Meta, float, 2, dynamic_channels, force_fp32_t<PyTorchAmp<float16>>>;
static_assert(std::is_same_v<decltype(cast_to<float16>(std::declval<Forced const&>()))::dtype, float16>);

template <class... Op>
void check_names_are_unique() {
  std::string_view const names[] = {Op::name...};
  for (std::size_t one = 0; one < sizeof...(Op); ++one)
    for (std::size_t other = one + 1; other < sizeof...(Op); ++other) CHECK(names[one] != names[other]);
}

}  // namespace

TEST_CASE("every op has a name of its own, by which plans tell ops apart") {
  check_names_are_unique<ops::Matmul, ops::Linear, ops::Conv2d, ops::Softmax, ops::LogSoftmax, CrossEntropy,
                         ops::MseLoss, ops::Sum, ops::Mean, ops::Relu, ops::Add, ops::Mul, ops::MaxPool2d,
                         ops::AvgPool2d, ops::GlobalAvgPool2d, ops::Flatten, ops::Unflatten, ops::Permute<4>,
                         ops::Dropout, ops::BatchNorm<false, false>, ops::Cast<f16>>();
}
