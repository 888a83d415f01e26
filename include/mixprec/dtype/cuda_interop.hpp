// SPDX-License-Identifier: Apache-2.0
// Conversions between mixprec's half types and CUDA's __half and __nv_bfloat16; same bits, no rounding.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <mixprec/dtype/bfloat16.hpp>
#include <mixprec/dtype/float16.hpp>

namespace mixprec::inline MIXPREC_ABI {

template <>
inline constexpr bool is_cuda_float16<__half> = true;
template <>
inline constexpr bool is_cuda_bfloat16<__nv_bfloat16> = true;

}  // namespace mixprec::inline MIXPREC_ABI
