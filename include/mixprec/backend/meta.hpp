// SPDX-License-Identifier: Apache-2.0
// The backend without memory: tensors are shapes, ops are recorded, and all of it runs in the compiler.
#pragma once

#include <mixprec/config.hpp>

namespace mixprec::inline MIXPREC_ABI {

/// Backend tag. A model called with Meta values computes nothing; its trace becomes the plan.
struct Meta {
  struct Stream {};
  static constexpr char const* name = "meta";
};

// The other backends by name, so that a program that uses one without its header is told which header that is.
struct Cpu;
struct Cuda;

}  // namespace mixprec::inline MIXPREC_ABI
