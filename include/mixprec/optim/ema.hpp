// SPDX-License-Identifier: Apache-2.0
// The exponential moving average of the parameters; the optimizer's kernel updates it in the same pass.
#pragma once

#include <cmath>  // std::isfinite
#include <string>

#include <mixprec/backend/optimizer_arguments.hpp>
#include <mixprec/backend/optimizer_math.hpp>  // ema_decay
#include <mixprec/error.hpp>

namespace mixprec::inline MIXPREC_ABI {

/// After each taken step average = d average + (1 - d) parameter, where d = decay, or with warm_up above 0
/// min(decay, (1 + t) / (warm_up + t)) for t steps taken before.
/// Source: PyTorch get_ema_multi_avg_fn; the warm-up is that of TensorFlow's ExponentialMovingAverage (warm_up = 10).
/// Errors: converting to EmaSettings throws an Error that names field and value.
struct Ema {
  double decay = 0.9999;
  double warm_up = 0.0;

  operator EmaSettings() const {
    if (!(decay >= 0.0 && decay < 1.0)) {
      throw Error("Ema: .decay is " + std::to_string(decay) + ". Use a number in [0, 1).");
    }
    if (!(warm_up == 0.0 || (warm_up >= 1.0 && std::isfinite(warm_up)))) {
      throw Error("Ema: .warm_up is " + std::to_string(warm_up) + ". Use 0 for none, or a number of steps from 1.");
    }
    return {.decay = decay, .warm_up = warm_up};
  }
};

}  // namespace mixprec::inline MIXPREC_ABI
