// SPDX-License-Identifier: Apache-2.0
// What AdamW is tested for on every backend.
#pragma once

#include "update_cases.hpp"

namespace optimizer_tests {

template <class B, class M, class G, class W>
void adamw_follows_pytorch() {
  follows_pytorch_in_all_forms<B, M, G, W>(AdamWOptions{});
  follows_pytorch_in_all_forms<B, M, G, W>(AdamWOptions{.beta1 = 0.8, .beta2 = 0.95, .eps = 1e-3, .weight_decay = 0.3});
}

template <class B>
void adamw_cases() {
  SUBCASE("follows PyTorch with float masters") {
    adamw_follows_pytorch<B, float, float16, float16>();
    adamw_follows_pytorch<B, float, bfloat16, bfloat16>();
    adamw_follows_pytorch<B, float, float, float>();
    adamw_follows_pytorch<B, float, float, bfloat16>();
  }
  SUBCASE("follows PyTorch with 16-bit masters") {
    adamw_follows_pytorch<B, float16, float16, float16>();
    adamw_follows_pytorch<B, bfloat16, bfloat16, bfloat16>();
    adamw_follows_pytorch<B, float16, float, float16>();
  }
  SUBCASE("follows PyTorch with double masters") {
    adamw_follows_pytorch<B, double, double, float>();
    adamw_follows_pytorch<B, double, bfloat16, double>();
  }
  SUBCASE("follows PyTorch on a large segment") {
    follows_pytorch_on_a_large_segment<B, float, float16, float16>(AdamWOptions{.max_norm = 3.0});
  }
  SUBCASE("skips a step as a whole") {
    skips_as_a_whole<B, float, float16, float16>(AdamWOptions{});
    skips_as_a_whole<B, float, bfloat16, bfloat16>(AdamWOptions{.max_norm = 1.0});
    skips_as_a_whole<B, float16, float16, float16>(AdamWOptions{});
    skips_as_a_whole<B, float, float, float>(AdamWOptions{});
  }
  SUBCASE("keeps padding zero") { keeps_padding_zero<B>(AdamWOptions{.weight_decay = 0.1}); }
}

}  // namespace optimizer_tests
