// SPDX-License-Identifier: Apache-2.0
// What SGD is tested for on every backend.
#pragma once

#include "update_cases.hpp"

namespace optimizer_tests {

template <class B, class M, class G, class W>
void sgd_follows_pytorch() {
  follows_pytorch_in_all_forms<B, M, G, W>(SgdOptions{});
  follows_pytorch_in_all_forms<B, M, G, W>(SgdOptions{.momentum = 0.9, .weight_decay = 0.05});
  follows_pytorch_in_all_forms<B, M, G, W>(SgdOptions{.momentum = 0.9, .dampening = 0.3, .weight_decay = 0.05});
  follows_pytorch_in_all_forms<B, M, G, W>(SgdOptions{.momentum = 0.8, .weight_decay = 0.05, .nesterov = true});
}

template <class B>
void sgd_cases() {
  SUBCASE("follows PyTorch with float masters") {
    sgd_follows_pytorch<B, float, float16, float16>();
    sgd_follows_pytorch<B, float, bfloat16, bfloat16>();
    sgd_follows_pytorch<B, float, float, float>();
    sgd_follows_pytorch<B, float, float, bfloat16>();
  }
  SUBCASE("follows PyTorch with 16-bit masters") {
    sgd_follows_pytorch<B, float16, float16, float16>();
    sgd_follows_pytorch<B, bfloat16, bfloat16, bfloat16>();
    sgd_follows_pytorch<B, float16, float, float16>();
  }
  SUBCASE("follows PyTorch with double masters") {
    sgd_follows_pytorch<B, double, double, float>();
    sgd_follows_pytorch<B, double, float16, double>();
  }
  SUBCASE("follows PyTorch on a large segment") {
    follows_pytorch_on_a_large_segment<B, float, float16, float16>(
        SgdOptions{.momentum = 0.9, .weight_decay = 0.05, .max_norm = 3.0});
  }
  SUBCASE("skips a step as a whole") {
    skips_as_a_whole<B, float, float16, float16>(SgdOptions{.momentum = 0.9});
    skips_as_a_whole<B, float, bfloat16, bfloat16>(SgdOptions{.momentum = 0.9, .max_norm = 1.0});
    skips_as_a_whole<B, float16, float16, float16>(SgdOptions{});
    skips_as_a_whole<B, float, float, float>(SgdOptions{});
    skips_as_a_whole<B, double, double, double>(SgdOptions{});
  }
  SUBCASE("keeps padding zero") { keeps_padding_zero<B>(SgdOptions{.momentum = 0.9, .weight_decay = 0.1}); }
}

}  // namespace optimizer_tests
