// SPDX-License-Identifier: Apache-2.0
// What of this machine and build decides the last bits of the CPU's results, in words.
#pragma once

#include <cstdio>
#include <map>
#include <string>

#include <mixprec/backend/cpu/capability.hpp>
#include <mixprec/backend/cpu/stream.hpp>

namespace mixprec::inline MIXPREC_ABI::cpu {

#if MIXPREC_USES_ONEDNN()
/// The instructions that oneDNN uses; ONEDNN_MAX_CPU_ISA is respected. Sets without a name here are in hexadecimal.
inline std::string isa_name() {
  auto const isa = dnnl_get_effective_cpu_isa();
  switch (isa) {
    case dnnl_cpu_isa_sse41: return "sse41";
    case dnnl_cpu_isa_avx: return "avx";
    case dnnl_cpu_isa_avx2: return "avx2";
    case dnnl_cpu_isa_avx512_core: return "avx512_core";
    case dnnl_cpu_isa_avx512_core_vnni: return "avx512_core_vnni";
    case dnnl_cpu_isa_avx512_core_bf16: return "avx512_core_bf16";
    case dnnl_cpu_isa_avx512_core_amx: return "avx512_core_amx";
    default: break;
  }
  char text[16];
  std::snprintf(text, sizeof text, "0x%x", static_cast<unsigned>(isa));
  return text;
}
#endif

/// threads, onednn (its version, or "none") and isa ("own kernels" without oneDNN). Sync: none.
inline std::map<std::string, std::string> environment(Stream const& stream) {
  std::map<std::string, std::string> result{{"threads", std::to_string(stream.threads())}};
#if MIXPREC_USES_ONEDNN()
  dnnl_version_t const* const version = dnnl_version();
  result["onednn"] =
      std::to_string(version->major) + "." + std::to_string(version->minor) + "." + std::to_string(version->patch);
  result["isa"] = isa_name();
#else
  result["onednn"] = "none";
  result["isa"] = "own kernels";
#endif
  return result;
}

}  // namespace mixprec::inline MIXPREC_ABI::cpu
