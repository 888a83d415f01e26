// SPDX-License-Identifier: Apache-2.0
// The scaler's state machine on the CPU, the kinds of scaler, their presets and their errors.
#include <mixprec/backend/cpu/cpu.hpp>
#include <mixprec/backend/cpu/optimizer.hpp>

#include "scaler_cases.hpp"

using namespace mixprec;

TEST_CASE("the scaler on the CPU follows PyTorch's algorithm") { scaler_tests::scaler_cases<Cpu>(); }

TEST_CASE("a dynamic scaler starts with PyTorch's defaults") {
  Scaler<Dynamic> const scaler;
  ScalerSettings const settings = scaler.settings();
  CHECK(scaler.initial_state().scale == 65536.0f);
  CHECK(settings.growth_factor == 2.0);
  CHECK(settings.backoff_factor == 0.5);
  CHECK(settings.growth_interval == 2000);
  CHECK(settings.hysteresis == 1);
  CHECK(settings.min_scale == 0.0f);
  CHECK(settings.max_scale == 0.0f);
  CHECK(settings.dynamic);
  CHECK(settings.check);
}

TEST_CASE("a scaler's kind fixes what it does at compile time") {
  static_assert(Scaler<Dynamic>::is_dynamic);
  static_assert(!Scaler<Static>::is_dynamic);
  static_assert(Scaler<StaticScale<512>>::scale == 512.0f);
  static_assert(Scaler<StaticScale<512>>::checks());
  static_assert(!Scaler<StaticScale<512, Unchecked>>::checks());
  static_assert(Scaler<StaticScale<1000, Checked, AnyScale>>::initial_state().scale == 1000.0f);
  static_assert(!Scaler<NoScaler>::settings().check);
  static_assert(scaler_fits_v<Scaler<Dynamic>, DType::float16>);
  static_assert(!scaler_fits_v<Scaler<Dynamic>, DType::bfloat16>);
  static_assert(!scaler_fits_v<Scaler<Dynamic>, DType::float32>);
  static_assert(scaler_fits_v<Scaler<StaticScale<512>>, DType::bfloat16>);
  static_assert(scaler_fits_v<Scaler<Static>, DType::float16>);
  static_assert(scaler_fits_v<Scaler<NoScaler>, DType::float32>);
  Scaler<Static> const scaler{{.scale = 300.0, .check = false}};
  CHECK(scaler.initial_state().scale == 300.0f);
  CHECK_FALSE(scaler.settings().check);
  CHECK_FALSE(scaler.settings().dynamic);
}

TEST_CASE("presets name the settings of PyTorch, MMCV, Apex and Megatron") {
  static_assert(std::is_same_v<decltype(Scaler{apex_dynamic()}), Scaler<Dynamic>>);
  static_assert(std::is_same_v<decltype(Scaler{mmcv_static()}), Scaler<Static>>);
  CHECK(Scaler{pytorch_dynamic()}.initial_state().scale == 65536.0f);
  CHECK(Scaler{mmcv_static()}.initial_state().scale == 512.0f);
  CHECK(Scaler{mmcv_static()}.settings().check);
  CHECK(Scaler{mmcv_dynamic(512.0)}.initial_state().scale == 512.0f);
  CHECK(Scaler{mmcv_dynamic()}.settings().growth_interval == 2000);
  CHECK(Scaler{mmcv_loss_scaler()}.initial_state().scale == 0x1p32f);
  CHECK(Scaler{mmcv_loss_scaler()}.settings().min_scale == 1.0f);
  CHECK(Scaler{mmcv_loss_scaler()}.settings().growth_interval == 1000);
  CHECK(Scaler{apex_dynamic()}.settings().max_scale == 0x1p24f);
  CHECK_FALSE(Scaler{apex_static(128.0)}.settings().check);
  CHECK(Scaler{megatron_dynamic()}.settings().hysteresis == 2);
  CHECK(Scaler{megatron_dynamic()}.initial_state().hysteresis_left == 2);
}

TEST_CASE("a scaler refuses settings that cannot work and names them") {
  double const nan = std::numeric_limits<double>::quiet_NaN(), inf = std::numeric_limits<double>::infinity();
  auto const refuses = [](DynamicOptions const& options, char const* words) {
    CHECK_THROWS_WITH_AS(Scaler<Dynamic>{options}, doctest::Contains(words), Error);
  };
  refuses({.init_scale = 0.0}, "init_scale is 0");
  refuses({.init_scale = -1.0}, "init_scale is -1");
  refuses({.init_scale = nan}, "init_scale is nan");
  refuses({.init_scale = 1e39}, "init_scale");
  refuses({.growth_factor = 1.0}, "growth_factor is 1");
  refuses({.growth_factor = inf}, "growth_factor is inf");
  refuses({.backoff_factor = 1.0}, "backoff_factor is 1");
  refuses({.backoff_factor = 0.0}, "backoff_factor is 0");
  refuses({.growth_interval = 0}, "growth_interval is 0");
  refuses({.hysteresis = 0}, "hysteresis is 0");
  refuses({.min_scale = -2.0}, "min_scale is -2");
  refuses({.max_scale = nan}, "max_scale is nan");
  refuses({.init_scale = 2.0, .min_scale = 4.0}, "outside [min_scale, max_scale]");
  refuses({.init_scale = 8.0, .max_scale = 4.0}, "outside [min_scale, max_scale]");
  CHECK_THROWS_WITH_AS(Scaler<Static>({.scale = nan}), doctest::Contains("scale is nan"), Error);
  CHECK_THROWS_WITH_AS(Scaler<Static>({.scale = -512.0}), doctest::Contains("scale is -512"), Error);
}
