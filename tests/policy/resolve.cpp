// SPDX-License-Identifier: Apache-2.0
// What every policy makes of every class and operand dtype, as tables. Source of the rules: PyTorch's
// aten/src/ATen/autocast_mode.h, Apex' frontend.py, MMCV's documentation of mixed precision.
#include <doctest/doctest.h>

#include <mixprec/policy/resolve.hpp>
#include <policy/classes.hpp>

using namespace mixprec;
using namespace mixprec_test;

namespace {

// In every table below the columns are the widest operand: float16, bfloat16, float32, float64.

template <class Policy>
constexpr bool pytorch_classes(DType to) {
  bool fits = resolves<Policy, LowOp>(low(to, f32), low(to, f32), low(to, f32), low(f64, f64));
  fits = fits && resolves<Policy, FullOp>(reads(f32, f32, f32), reads(f32, f32, f32), reads(f32, f32, f32),
                                          reads(f64, f64, f64));
  fits = fits && resolves<Policy, PromotingOp>(reads(f16, f32, f16), reads(bf16, f32, bf16), reads(f32, f32, f32),
                                               reads(f64, f64, f64));
  return fits && resolves<Policy, FollowingOp>(reads(f16, f32, f16), reads(bf16, f32, bf16), reads(f32, f32, f32),
                                               reads(f64, f64, f64));
}
template <class Policy>
constexpr bool stores_float = resolves<Policy, FullStoringOp>(reads(f32, f32, f32), reads(f32, f32, f32),
                                                              reads(f32, f32, f32), reads(f64, f64, f64));
template <class Policy>
constexpr bool stores_operand = resolves<Policy, FullStoringOp>(reads(f32, f32, f16), reads(f32, f32, bf16),
                                                                reads(f32, f32, f32), reads(f64, f64, f64));

static_assert(pytorch_classes<PyTorchAmp<float16>>(f16) && stores_float<PyTorchAmp<float16>>);
static_assert(pytorch_classes<PyTorchAmp<bfloat16>>(bf16) && stores_float<PyTorchAmp<bfloat16>>);
static_assert(pytorch_classes<ApexO1>(f16) && stores_float<ApexO1>);
static_assert(pytorch_classes<Amp<float16>>(f16) && stores_operand<Amp<float16>>);
static_assert(pytorch_classes<Amp<bfloat16>>(bf16) && stores_operand<Amp<bfloat16>>);
static_assert(pytorch_classes<Fp32>(f32) && stores_float<Fp32>);
static_assert(pytorch_classes<ApexO0>(f32) && stores_float<ApexO0>);

// Fp64 reads the operands of the low class in float64; its data are float64 from the input on.
static_assert(resolves<Fp64, LowOp>(low(f64, f64), low(f64, f64), low(f64, f64), low(f64, f64)));
static_assert(resolve<Fp64, FullOp>(f64) == reads(f64, f64, f64));
static_assert(resolve<Fp64, PromotingOp>(f64) == reads(f64, f64, f64));
static_assert(resolve<Fp64, FollowingOp>(f64) == reads(f64, f64, f64));

// O2 and O3 patch no function: the model was cast, and every op takes what it gets, softmax and losses too.
template <class Policy, class... Op>
constexpr bool all_follow = (resolves<Policy, Op>(reads(f16, f32, f16), reads(bf16, f32, bf16), reads(f32, f32, f32),
                                                  reads(f64, f64, f64)) &&
                             ...);
static_assert(all_follow<ApexO2, LowOp, FullOp, FullStoringOp, PromotingOp, FollowingOp>);
static_assert(all_follow<ApexO3, LowOp, FullOp, FullStoringOp, PromotingOp, FollowingOp>);

// MMCV: as PyTorch, but the promote class goes down to low; sums of two halves are still computed in float.
static_assert(resolves<Mmcv<float16>, LowOp>(low(f16, f32), low(f16, f32), low(f16, f32), low(f64, f64)));
static_assert(resolves<Mmcv<float16>, FullOp>(reads(f32, f32, f32), reads(f32, f32, f32), reads(f32, f32, f32),
                                              reads(f64, f64, f64)));
static_assert(resolves<Mmcv<float16>, PromotingOp>(reads(f16, f32, f16), reads(f16, f32, f16), reads(f16, f32, f16),
                                                   reads(f64, f64, f64)));
static_assert(resolves<Mmcv<bfloat16>, PromotingOp>(reads(bf16, f32, bf16), reads(bf16, f32, bf16),
                                                    reads(bf16, f32, bf16), reads(f64, f64, f64)));
static_assert(resolves<Mmcv<float16>, FollowingOp>(reads(f16, f32, f16), reads(bf16, f32, bf16), reads(f32, f32, f32),
                                                   reads(f64, f64, f64)));

// Parameters and the casts at the model's border.
constexpr ParameterKind kinds[] = {ParameterKind::weight, ParameterKind::bias, ParameterKind::norm_weight,
                                   ParameterKind::norm_bias};
template <class Policy>
constexpr bool masters_are(DType dtype) {
  for (ParameterKind const kind : kinds)
    if (Policy::parameter(kind) != dtype) return false;
  return true;
}
static_assert(masters_are<Fp32>(f32) && masters_are<Amp<float16>>(f32) && masters_are<Amp<bfloat16>>(f32));
static_assert(masters_are<PyTorchAmp<float16>>(f32) && masters_are<Mmcv<float16>>(f32));
static_assert(masters_are<ApexO0>(f32) && masters_are<ApexO1>(f32) && masters_are<ApexO2>(f32) &&
              masters_are<ApexO3>(f16));
static_assert(masters_are<Fp64>(f64));
static_assert(ApexO2::casts_input && ApexO2::casts_output && ApexO3::casts_input && ApexO3::casts_output);
static_assert(!ApexO0::casts_input && !ApexO1::casts_input && !Amp<float16>::casts_input &&
              !Amp<float16>::casts_output);

static_assert(precision_policy<Fp32> && precision_policy<Fp64> && precision_policy<PyTorchAmp<>> &&
              precision_policy<Amp<>> && precision_policy<ApexO0> && precision_policy<ApexO1> &&
              precision_policy<ApexO2> && precision_policy<ApexO3> && precision_policy<Mmcv<>> &&
              precision_policy<ForcedFp32<Amp<>>> && precision_policy<With<Amp<>>>);
static_assert(!precision_policy<int> && !classified_op<int>);

template <class Policy, class Op>
void check_rules_of_all_policies() {
  for (DType const dtype : widest) {
    CAPTURE(Policy::name);
    CAPTURE(name_of(dtype));
    Precision const precision = resolve<Policy, Op>(dtype);
    CHECK(precision.accumulator == accumulator_of(precision.arithmetic));
    CHECK(precision.gradient == precision.result);
    if (dtype == f64) CHECK(precision == reads(f64, f64, f64));
    Precision const forced = resolve<force_fp32_t<Policy>, Op>(dtype);
    CHECK(forced.operand == (Policy::low == f64 && std::is_same_v<Op, LowOp> ? f64 : promote(dtype, f32)));
    CHECK(forced.result == forced.operand);
  }
}
template <class Policy>
void check_rules() {
  check_rules_of_all_policies<Policy, LowOp>();
  check_rules_of_all_policies<Policy, FullOp>();
  check_rules_of_all_policies<Policy, FullStoringOp>();
  check_rules_of_all_policies<Policy, PromotingOp>();
  check_rules_of_all_policies<Policy, FollowingOp>();
}

}  // namespace

TEST_CASE("every policy sums in float, takes gradients in the result's dtype, and never narrows float64") {
  check_rules<Fp32>();
  check_rules<Fp64>();
  check_rules<PyTorchAmp<float16>>();
  check_rules<PyTorchAmp<bfloat16>>();
  check_rules<Amp<float16>>();
  check_rules<Amp<bfloat16>>();
  check_rules<ApexO0>();
  check_rules<ApexO1>();
  check_rules<ApexO2>();
  check_rules<ApexO3>();
  check_rules<Mmcv<float16>>();
  check_rules<Mmcv<bfloat16>>();
}

TEST_CASE("resolution at run time says what it says in the compiler") {
  constexpr Precision in_compiler = resolve<Amp<float16>, FullStoringOp>(f16);
  DType const volatile half = f16;
  CHECK(resolve<Amp<float16>, FullStoringOp>(half) == in_compiler);
  CHECK(pytorch_classes<PyTorchAmp<float16>>(f16));
  CHECK_FALSE(pytorch_classes<PyTorchAmp<float16>>(bf16));
}
