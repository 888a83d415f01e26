// SPDX-License-Identifier: Apache-2.0
// Scaler settings of other systems by name: `Scaler scaler{apex_dynamic()};`.
#pragma once

#include <mixprec/scaler/scaler.hpp>

namespace mixprec::inline MIXPREC_ABI {

/// torch.amp.GradScaler(): 2^16, x2 after 2000 steps, x0.5 on inf.
inline DynamicOptions pytorch_dynamic() { return {}; }

/// MMCV's Fp16OptimizerHook(loss_scale=512.) on PyTorch 1.6 and later: the scale stays, a step with inf is skipped.
inline StaticOptions mmcv_static(double loss_scale = 512.0) { return {.scale = loss_scale, .check = true}; }

/// MMCV's loss_scale='dynamic', and loss_scale=dict(init_scale=...): PyTorch's GradScaler.
inline DynamicOptions mmcv_dynamic(double init_scale = 65536.0) { return {.init_scale = init_scale}; }

/// MMCV's own LossScaler, in use before PyTorch 1.6: 2^32, x2 after 1000 steps, x0.5 on inf, never below 1.
inline DynamicOptions mmcv_loss_scaler(double init_scale = 0x1p32) {
  return {.init_scale = init_scale, .growth_interval = 1000, .min_scale = 1.0};
}

/// Apex's loss_scale="dynamic": PyTorch's numbers, never above 2^24.
inline DynamicOptions apex_dynamic() { return {.max_scale = 0x1p24}; }

/// Apex's loss_scale=512.0: nothing is checked, a step with inf is taken.
inline StaticOptions apex_static(double loss_scale) { return {.scale = loss_scale, .check = false}; }

/// Megatron-LM's: 2^32, x2 after 1000 steps, x0.5 at the second inf since the last growth, never below 1.
inline DynamicOptions megatron_dynamic() {
  return {.init_scale = 0x1p32, .growth_interval = 1000, .min_scale = 1.0, .hysteresis = 2};
}

}  // namespace mixprec::inline MIXPREC_ABI
