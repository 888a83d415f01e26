// SPDX-License-Identifier: Apache-2.0
// Stochastic gradient descent: its options, and how they become a kernel's settings.
#pragma once

#include <mixprec/backend/optimizer_arguments.hpp>
#include <mixprec/error.hpp>
#include <mixprec/optim/options.hpp>

namespace mixprec::inline MIXPREC_ABI {

/// Options of torch.optim.SGD under their names; the learning rate comes from the schedule.
struct SgdOptions {
  double momentum = 0.0;
  double dampening = 0.0;
  double weight_decay = 0.0;
  bool nesterov = false;
  double max_norm = 0.0;  // above 0: gradients are clipped to this norm over all parameters (clip_grad_norm_)
};

/// Buffers of optimizer state per parameter, each of the master weights' type.
constexpr int state_buffers(SgdOptions const& options) { return options.momentum != 0.0 ? 1 : 0; }

/// The buffers' names in torch.optim's state_dict.
constexpr char const* state_name(SgdOptions const&, int) { return "momentum_buffer"; }

/// Whether check_gradients has to compute the norm.
constexpr bool needs_norm(SgdOptions const& options) { return options.max_norm > 0.0; }

/// Errors: Error for options that cannot work, with the name and value of the option.
/// `check` false takes a step although a gradient is not finite (an unchecked scaler).
inline SgdSettings optimizer_settings(SgdOptions const& options, bool check) {
  detail::check_common_options("Sgd", options.weight_decay, options.max_norm);
  detail::require_option(options.momentum >= 0.0 && options.momentum < 1.0, "Sgd", "momentum", options.momentum,
                         "Use a number in [0, 1).");
  detail::require_option(options.dampening >= 0.0 && options.dampening <= 1.0, "Sgd", "dampening", options.dampening,
                         "Use a number in [0, 1].");
  if (options.nesterov && !(options.momentum > 0.0 && options.dampening == 0.0)) {
    throw Error("Sgd: .nesterov needs momentum and no dampening, but .momentum is " + std::to_string(options.momentum) +
                " and .dampening is " + std::to_string(options.dampening) +
                ". Set .momentum above 0 and .dampening to 0.");
  }
  return {.momentum = options.momentum,
          .dampening = options.dampening,
          .weight_decay = options.weight_decay,
          .max_norm = options.max_norm,
          .nesterov = options.nesterov,
          .check = check};
}

/// sgd_update under the name that all optimizers share.
template <class Stream, class M, class G, class W>
void optimizer_update(Stream& stream, SgdSettings const& settings, Segment<M, G, W> const& segment,
                      ScalerState const* scaler, StepState const* step) {
  sgd_update(stream, settings, segment, scaler, step);
}

}  // namespace mixprec::inline MIXPREC_ABI
