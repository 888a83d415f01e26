// SPDX-License-Identifier: Apache-2.0
// Loss scalers as types: what multiplies the loss, whether a gradient that is not finite skips the step, and whether
// the scale moves. A Scaler holds settings only; its state is a ScalerState in backend memory.
#pragma once

#include <cmath>  // std::isfinite
#include <cstdint>
#include <string>

#include <mixprec/backend/optimizer_arguments.hpp>
#include <mixprec/dtype/dtype.hpp>
#include <mixprec/error.hpp>

namespace mixprec::inline MIXPREC_ABI {

// Kinds of scaler. A name cannot be a type and a template at once, so the run-time and the compile-time form of a
// static scale are spelt `Static` and `StaticScale<512>`.

/// The scale grows and backs off by itself: PyTorch's GradScaler.
struct Dynamic;
/// A scale given at run time that never moves: Scaler<Static>{{.scale = 512}}.
struct Static;
/// No scaling and no check: what float and bfloat16 need.
struct NoScaler;

/// A step with a gradient that is not finite is skipped: PyTorch, MMCV since 1.6.
struct Checked;
/// Such a step is taken, as by Apex.
struct Unchecked;

/// The scale is a power of two, so that scaling and unscaling are exact.
struct PowerOfTwo;
/// Any positive scale; unscaling rounds.
struct AnyScale;

namespace detail {
template <class Rounding>
inline constexpr bool is_any_scale = false;
template <>
inline constexpr bool is_any_scale<AnyScale> = true;
template <class Check>
inline constexpr bool is_checked = true;
template <>
inline constexpr bool is_checked<Unchecked> = false;
}  // namespace detail

/// A static scale known to the compiler: Scaler<StaticScale<512>>, Scaler<StaticScale<512, Unchecked>>,
/// Scaler<StaticScale<1000, Checked, AnyScale>>. Errors: compile errors for S <= 0 and for an S that is not a power of
/// two without AnyScale.
template <std::int64_t S, class Check = Checked, class Rounding = PowerOfTwo>
struct StaticScale {
  static_assert(S > 0, "mixprec: a loss scale must be positive. Use for example StaticScale<512>.");
  static_assert(
      S <= 0 || (S & (S - 1)) == 0 || detail::is_any_scale<Rounding>,
      "mixprec: a compile-time loss scale must be a power of two, or unscaling rounds every gradient. Use for "
      "example StaticScale<512>, or StaticScale<S, Checked, AnyScale> to keep this one.");
};

/// Settings of Scaler<Dynamic>. The defaults are those of PyTorch's GradScaler.
struct DynamicOptions {
  double init_scale = 65536.0;
  double growth_factor = 2.0;
  double backoff_factor = 0.5;
  std::int32_t growth_interval = 2000;  // steps in a row without inf before the scale grows
  double min_scale = 0.0;               // floor; 0: the smallest normal float
  double max_scale = 0.0;               // ceiling; 0: the largest finite float
  std::int32_t hysteresis = 1;          // skipped steps since the last growth before the scale backs off
};

/// Settings of Scaler<Static>.
struct StaticOptions {
  double scale = 65536.0;
  bool check = true;  // false: a step with a gradient that is not finite is taken, as by Apex
};

namespace detail {

inline void require_scale(double scale, char const* what) {
  if (std::isfinite(scale) && scale >= 0x1p-126 && scale <= 0x1.fffffep127) return;
  throw Error("scaler: " + std::string(what) + " is " + std::to_string(scale) +
              ". Use a positive finite number that float holds.");
}

inline void check_options(DynamicOptions const& options) {
  require_scale(options.init_scale, "init_scale");
  if (!(options.growth_factor > 1.0) || !std::isfinite(options.growth_factor)) {
    throw Error("scaler: growth_factor is " + std::to_string(options.growth_factor) + ". Use a number above 1.");
  }
  if (!(options.backoff_factor > 0.0 && options.backoff_factor < 1.0)) {
    throw Error("scaler: backoff_factor is " + std::to_string(options.backoff_factor) +
                ". Use a number between 0 and 1.");
  }
  if (options.growth_interval < 1) {
    throw Error("scaler: growth_interval is " + std::to_string(options.growth_interval) + ". Use at least 1.");
  }
  if (options.hysteresis < 1) {
    throw Error("scaler: hysteresis is " + std::to_string(options.hysteresis) + ". Use at least 1.");
  }
  if (options.min_scale != 0.0) require_scale(options.min_scale, "min_scale");
  if (options.max_scale != 0.0) require_scale(options.max_scale, "max_scale");
  if (options.init_scale < options.min_scale || (options.max_scale != 0.0 && options.init_scale > options.max_scale)) {
    throw Error("scaler: init_scale " + std::to_string(options.init_scale) + " is outside [min_scale, max_scale] = [" +
                std::to_string(options.min_scale) + ", " + std::to_string(options.max_scale) +
                "]. Move a bound or init_scale.");
  }
}

}  // namespace detail

/// A loss scaler: the settings that kernels take and the state to start from. Scaler<Dynamic>, Scaler<Static>,
/// Scaler<StaticScale<S>> and Scaler<NoScaler> have the same members.
template <class Kind = Dynamic>
class Scaler;

template <>
class Scaler<Dynamic> {
 public:
  static constexpr bool is_dynamic = true;

  /// Errors: Error for settings that cannot work, with the name and value of the setting.
  Scaler(DynamicOptions const& options = {}) : options_(options) { detail::check_options(options); }

  DynamicOptions const& options() const { return options_; }
  bool checks() const { return true; }

  ScalerSettings settings() const {
    return {.growth_factor = options_.growth_factor,
            .backoff_factor = options_.backoff_factor,
            .growth_interval = options_.growth_interval,
            .min_scale = static_cast<float>(options_.min_scale),
            .max_scale = static_cast<float>(options_.max_scale),
            .hysteresis = options_.hysteresis,
            .dynamic = true,
            .check = true};
  }
  ScalerState initial_state() const {
    return {.scale = static_cast<float>(options_.init_scale), .hysteresis_left = options_.hysteresis};
  }

 private:
  DynamicOptions options_;
};

template <>
class Scaler<Static> {
 public:
  static constexpr bool is_dynamic = false;

  /// Errors: Error for a scale that is not a positive finite float.
  Scaler(StaticOptions const& options = {}) : options_(options) { detail::require_scale(options.scale, "scale"); }

  StaticOptions const& options() const { return options_; }
  bool checks() const { return options_.check; }

  ScalerSettings settings() const { return {.dynamic = false, .check = options_.check}; }
  ScalerState initial_state() const { return {.scale = static_cast<float>(options_.scale)}; }

 private:
  StaticOptions options_;
};

template <std::int64_t S, class Check, class Rounding>
class Scaler<StaticScale<S, Check, Rounding>> {
  using Kind [[maybe_unused]] = decltype(StaticScale<S, Check, Rounding>{});  // runs StaticScale's own checks

 public:
  static constexpr bool is_dynamic = false;
  static constexpr float scale = static_cast<float>(S);

  static constexpr bool checks() { return detail::is_checked<Check>; }
  static constexpr ScalerSettings settings() { return {.dynamic = false, .check = checks()}; }
  static constexpr ScalerState initial_state() { return {.scale = scale}; }
};

template <>
class Scaler<NoScaler> {
 public:
  static constexpr bool is_dynamic = false;
  static constexpr float scale = 1.0f;

  static constexpr bool checks() { return false; }
  static constexpr ScalerSettings settings() { return {.dynamic = false, .check = false}; }
  static constexpr ScalerState initial_state() { return {}; }
};

Scaler(DynamicOptions)->Scaler<Dynamic>;
Scaler(StaticOptions)->Scaler<Static>;
Scaler()->Scaler<Dynamic>;

/// False where a scaler has nothing to do: a moving scale on a plan whose low-precision type is not float16. bfloat16
/// and float have float's exponent range; a dynamic scale would only add skipped steps.
template <class S, DType Low>
inline constexpr bool scaler_fits_v = !S::is_dynamic || Low == DType::float16;

}  // namespace mixprec::inline MIXPREC_ABI
