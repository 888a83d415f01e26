// SPDX-License-Identifier: Apache-2.0
// Changing a policy for one op (With) and for one region (force_fp32, auto_fp16): types only, so the compiler is the
// test.
#include <doctest/doctest.h>

#include <mixprec/nn/containers.hpp>
#include <mixprec/ops/reduce.hpp>
#include <policy/classes.hpp>

using namespace mixprec;
using namespace mixprec_test;

namespace {

// Overrides of one op.
struct SpecialLowOp : LowOp {};
using Half = Amp<float16>;
using LossInHalf = With<Half, Run<FullOp, Fp16Op>, Run<PromotingOp, Fp32Op>>;
static_assert(resolve<LossInHalf, FullOp>(f32) == low(f16, f32));
static_assert(resolve<LossInHalf, PromotingOp>(f16) == reads(f32, f32, f32));
static_assert(resolve<LossInHalf, LowOp>(f32) == resolve<Half, LowOp>(f32));
static_assert(resolve<LossInHalf, FullStoringOp>(f16) == resolve<Half, FullStoringOp>(f16));
// The last line wins, and an override of an override sees what is below it.
static_assert(resolve<With<Half, Run<FullOp, Fp16Op>, Run<FullOp, FollowOp>>, FullOp>(f16) == reads(f16, f32, f16));
static_assert(resolve<With<LossInHalf, Run<FullOp, FollowOp>>, FullOp>(f16) == reads(f16, f32, f16));
static_assert(resolve<With<LossInHalf, Run<FullOp, FollowOp>>, PromotingOp>(f16) == reads(f32, f32, f32));
// An op is also named by its base: the fused forms of an op derive from one.
static_assert(resolve<With<Half, Run<LowOp, Fp32Op>>, SpecialLowOp>(f16) == reads(f32, f32, f32));
static_assert(resolve<With<Half, Run<SpecialLowOp, Fp32Op>>, LowOp>(f16) == low(f16, f32));
// Where the model was cast as a whole, an override still counts.
static_assert(resolve<With<ApexO2, Run<FullOp, Fp32Op>>, FullOp>(f16) == reads(f32, f32, f32));
static_assert(resolve<With<ApexO2, Run<FullOp, Fp32Op>>, LowOp>(f16) == reads(f16, f32, f16));
// float64 stays, whatever the override says.
static_assert(resolve<LossInHalf, FullOp>(f64) == low(f64, f64));

// Regions: both are idempotent, auto_fp16 undoes force_fp32 however often it was asked for, and a policy that never
// lowers anything stays what it is.
static_assert(std::is_same_v<force_fp32_t<force_fp32_t<Half>>, force_fp32_t<Half>>);
static_assert(std::is_same_v<auto_fp16_t<force_fp32_t<Half>>, Half>);
static_assert(std::is_same_v<auto_fp16_t<auto_fp16_t<force_fp32_t<Half>>>, Half>);
static_assert(std::is_same_v<auto_fp16_t<Half>, Half> && std::is_same_v<auto_fp16_t<Fp32>, Fp32>);
static_assert(std::is_same_v<force_fp32_t<auto_fp16_t<force_fp32_t<Half>>>, force_fp32_t<Half>>);
static_assert(std::is_same_v<auto_fp16_t<force_fp32_t<LossInHalf>>, LossInHalf>);
static_assert(
    std::is_same_v<auto_fp16_t<With<force_fp32_t<Half>, Run<FullOp, Fp16Op>>>, With<Half, Run<FullOp, Fp16Op>>>);
static_assert(std::is_same_v<auto_fp16_t<force_fp32_t<With<force_fp32_t<Half>, Run<FullOp, Fp16Op>>>>,
                             With<Half, Run<FullOp, Fp16Op>>>);

template <class Policy>
constexpr bool all_in_float = (resolve<Policy, LowOp>(f16).result == f32) &&
                              (resolve<Policy, FullOp>(f16).result == f32) &&
                              (resolve<Policy, FullStoringOp>(f16).result == f32) &&
                              (resolve<Policy, PromotingOp>(bf16).result == f32) &&
                              (resolve<Policy, FollowingOp>(f16).result == f32) &&
                              (resolve<Policy, LowOp>(f64).result == f64);
static_assert(all_in_float<force_fp32_t<Half>> && all_in_float<force_fp32_t<Amp<bfloat16>>> &&
              all_in_float<force_fp32_t<PyTorchAmp<>>>);
static_assert(all_in_float<force_fp32_t<Mmcv<>>> && all_in_float<force_fp32_t<ApexO2>> &&
              all_in_float<force_fp32_t<LossInHalf>>);
// Masters do not change in a region: the parameter is the model's.
static_assert(force_fp32_t<ApexO3>::parameter(ParameterKind::weight) == f16);

// The same through values, as a user writes it.
template <class T, class Policy, int Rank = 2>
using V = Value<Meta, T, Rank, dynamic_channels, Policy>;
template <class X>
constexpr DType stored = dtype_of_v<typename X::dtype>;

template <class F, class T, class Policy>
using Result = std::invoke_result_t<F, V<T, Policy> const&>;

using ProductInFloat = decltype([](auto const& x) { return matmul(force_fp32(x), force_fp32(x)); });
using ProductAfterFloat = decltype([](auto const& x) {
  auto const in_float = mul(force_fp32(x), force_fp32(x));
  return matmul(auto_fp16(in_float), auto_fp16(in_float));
});
static_assert(stored<Result<ProductInFloat, float16, Half>> == f32);
static_assert(stored<Result<ProductAfterFloat, float16, Half>> == f16);
static_assert(stored<Result<ProductAfterFloat, float16, Fp32>> == f32);
static_assert(std::is_same_v<Result<ProductAfterFloat, float16, Half>::policy, Half>);
static_assert(std::is_same_v<Result<ProductInFloat, float16, Half>::policy, force_fp32_t<Half>>);

// Modules in a region give back the policy that they were called under.
using Head = nn::ForceFp32<nn::Sequential<nn::Linear<8, 8>, nn::AutoFp16<nn::Linear<8, 8>>, nn::ReLU>>;
static_assert(stored<Result<Head, float16, Half>> == f32);  // relu under force_fp32 reads float at least
static_assert(std::is_same_v<Result<Head, float16, Half>::policy, Half>);
static_assert(stored<Result<nn::ForceFp32<nn::AutoFp16<nn::Linear<8, 8>>>, float, Half>> == f16);
static_assert(stored<Result<nn::Under<Amp<bfloat16>, nn::Linear<8, 8>>, float16, Half>> == bf16);
static_assert(std::is_same_v<Result<nn::Under<Amp<bfloat16>, nn::Linear<8, 8>>, float16, Half>::policy, Half>);
static_assert(stored<Result<nn::Under<Fp32, nn::Linear<8, 8>>, float16, Half>> == f32);

}  // namespace

TEST_CASE("an override names an op by itself or by its base") {
  using InFloat = With<Half, Run<LowOp, Fp32Op>>;
  CHECK(resolve<InFloat, LowOp>(f16) == reads(f32, f32, f32));
  CHECK(resolve<InFloat, SpecialLowOp>(f16) == reads(f32, f32, f32));
  CHECK(resolve<InFloat, PromotingOp>(f16) == reads(f16, f32, f16));
}
