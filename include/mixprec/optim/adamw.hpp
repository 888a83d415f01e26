// SPDX-License-Identifier: Apache-2.0
// AdamW: its options, and how they become a kernel's settings.
#pragma once

#include <mixprec/backend/optimizer_arguments.hpp>
#include <mixprec/error.hpp>
#include <mixprec/optim/options.hpp>

namespace mixprec::inline MIXPREC_ABI {

/// Options of torch.optim.AdamW with its defaults; the learning rate comes from the schedule.
struct AdamWOptions {
  double beta1 = 0.9, beta2 = 0.999;
  double eps = 1e-8;
  double weight_decay = 0.01;
  double max_norm = 0.0;  // above 0: gradients are clipped to this norm over all parameters (clip_grad_norm_)
};

/// Buffers of optimizer state per parameter, each of the master weights' type.
constexpr int state_buffers(AdamWOptions const&) { return 2; }

/// The buffers' names in torch.optim's state_dict.
constexpr char const* state_name(AdamWOptions const&, int buffer) { return buffer == 0 ? "exp_avg" : "exp_avg_sq"; }

/// Whether check_gradients has to compute the norm.
constexpr bool needs_norm(AdamWOptions const& options) { return options.max_norm > 0.0; }

/// Errors: Error for options that cannot work, with the name and value of the option.
/// `check` false takes a step although a gradient is not finite (an unchecked scaler).
inline AdamWSettings optimizer_settings(AdamWOptions const& options, bool check) {
  detail::check_common_options("AdamW", options.weight_decay, options.max_norm);
  detail::require_option(options.beta1 >= 0.0 && options.beta1 < 1.0, "AdamW", "beta1", options.beta1,
                         "Use a number in [0, 1).");
  detail::require_option(options.beta2 >= 0.0 && options.beta2 < 1.0, "AdamW", "beta2", options.beta2,
                         "Use a number in [0, 1).");
  // In float's normal range, so that a parameter without gradient divides 0 by something.
  if (!(options.eps >= 0x1p-126 && std::isfinite(options.eps))) {
    throw Error("AdamW: .eps is too small or not finite, so that 0 / 0 can arise. Use for example 1e-8.");
  }
  return {.beta1 = options.beta1,
          .beta2 = options.beta2,
          .eps = options.eps,
          .weight_decay = options.weight_decay,
          .max_norm = options.max_norm,
          .check = check};
}

/// adamw_update under the name that all optimizers share.
template <class Stream, class M, class G, class W>
void optimizer_update(Stream& stream, AdamWSettings const& settings, Segment<M, G, W> const& segment,
                      ScalerState const* scaler, StepState const* step) {
  adamw_update(stream, settings, segment, scaler, step);
}

}  // namespace mixprec::inline MIXPREC_ABI
