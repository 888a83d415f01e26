// SPDX-License-Identifier: Apache-2.0
// The CPU backend: memory and copies. Its kernels are the other files of this folder.
#pragma once

#include <cstddef>
#include <cstdlib>  // std::aligned_alloc
#include <cstring>  // std::memcpy
#include <string>

#include <mixprec/backend/cpu/stream.hpp>
#include <mixprec/error.hpp>

namespace mixprec::inline MIXPREC_ABI {

/// Backend tag and memory interface; models: compute_backend. Every call is complete when it returns.
struct Cpu {
  using Stream = cpu::Stream;
  static constexpr char const* name = "cpu";
  static constexpr bool computes_float64 = true;
  static constexpr bool captures = false;  // work runs when it is called; there is nothing to replay

  /// System memory, 512-byte aligned. Errors: Error with the size asked for.
  static void* allocate(Stream&, std::size_t bytes) {
    void* const memory = std::aligned_alloc(512, (bytes + 511) / 512 * 512);
    if (memory == nullptr) {
      throw Error("cpu: out of memory: " + std::to_string(bytes) + " bytes asked for. Use a smaller batch.");
    }
    return memory;
  }
  static void release(Stream&, void* memory) { std::free(memory); }
  static void copy(Stream&, void* to, void const* from, std::size_t bytes) {
    if (bytes > 0) std::memcpy(to, from, bytes);
  }
  static void copy_from_host(Stream& stream, void* to, void const* from, std::size_t bytes) {
    copy(stream, to, from, bytes);
  }
  static void copy_to_host(Stream& stream, void* to, void const* from, std::size_t bytes) {
    copy(stream, to, from, bytes);
  }
  static void zero(Stream&, void* memory, std::size_t bytes) {
    if (bytes > 0) std::memset(memory, 0, bytes);
  }
  static void wait(Stream&) {}
};

}  // namespace mixprec::inline MIXPREC_ABI
