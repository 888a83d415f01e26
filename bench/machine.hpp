// SPDX-License-Identifier: Apache-2.0
// What a benchmark program measures with on its backend: clocks, memory as the system sees it, and versions. nvcc
// cannot compile the CPU backend beside the CUDA one, so a .cu file includes <mixprec/cuda.hpp> before this header.
#pragma once

#include <mixprec/mixprec.hpp>
#ifndef __CUDACC__
#include <mixprec/backend/cpu/capability.hpp>
#include <mixprec/cpu.hpp>
#endif

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "program.hpp"

namespace bench {

namespace mp = mixprec;
using Clock = std::chrono::steady_clock;

inline double milliseconds_since(Clock::time_point begin) {
  return std::chrono::duration<double, std::milli>(Clock::now() - begin).count();
}

/// What differs between the backends: clocks, memory as the system sees it, and versions.
template <class B>
struct Machine;

#ifndef __CUDACC__

using Backend = mp::Cpu;

template <>
struct Machine<mp::Cpu> {
  static std::int64_t memory_in_use() { return 0; }
  static void profile(bool) {}

  template <class Step>
  static std::vector<double> timed(mp::cpu::Stream&, std::int64_t steps, Step&& step) {
    std::vector<double> times;
    for (std::int64_t i = 0; i < steps; ++i) {
      auto const begin = Clock::now();
      step();
      times.push_back(milliseconds_since(begin));
    }
    return times;
  }
  static void describe(mp::cpu::Stream& stream, JsonLine& line) {
    line.add("device", mp::cpu::bfloat16_is_fast() ? "cpu, AMX bfloat16" : "cpu")
        .add("threads", std::int64_t{stream.threads()});
#if MIXPREC_HAS_ONEDNN()
    dnnl_version_t const* const version = dnnl_version();
    line.add("onednn", std::to_string(version->major) + "." + std::to_string(version->minor) + "." +
                           std::to_string(version->patch));
#endif
  }
};

#else

using Backend = mp::Cuda;

template <>
struct Machine<mp::Cuda> {
  /// Of all processes together.
  static std::int64_t memory_in_use() {
    std::size_t free = 0, total = 0;
    mp::cuda::check(cudaMemGetInfo(&free, &total), "cudaMemGetInfo");
    return static_cast<std::int64_t>(total - free);
  }
  /// Tells profilers and bench/counters where the measured steps begin and end.
  static void profile(bool on) {
    mp::cuda::check(on ? cudaProfilerStart() : cudaProfilerStop(), on ? "cudaProfilerStart" : "cudaProfilerStop");
  }

  /// The distances between events that are recorded between the steps, as in the peer.
  template <class Step>
  static std::vector<double> timed(mp::cuda::Stream& stream, std::int64_t steps, Step&& step) {
    std::vector<cudaEvent_t> events(static_cast<std::size_t>(steps) + 1);
    for (cudaEvent_t& event : events) mp::cuda::check(cudaEventCreate(&event), "cudaEventCreate");
    auto const record = [&](cudaEvent_t event) {
      mp::cuda::check(cudaEventRecord(event, stream.handle()), "cudaEventRecord");
    };
    stream.wait();
    record(events[0]);
    for (std::size_t i = 1; i < events.size(); ++i) {
      step();
      record(events[i]);
    }
    stream.wait();
    std::vector<double> times;
    for (std::size_t i = 1; i < events.size(); ++i) {
      float elapsed = 0;
      mp::cuda::check(cudaEventElapsedTime(&elapsed, events[i - 1], events[i]), "cudaEventElapsedTime");
      times.push_back(static_cast<double>(elapsed));
    }
    for (cudaEvent_t event : events) cudaEventDestroy(event);
    return times;
  }
  static void describe(mp::cuda::Stream& stream, JsonLine& line) {
    int runtime = 0, driver = 0;
    mp::cuda::check(cudaRuntimeGetVersion(&runtime), "cudaRuntimeGetVersion");
    mp::cuda::check(cudaDriverGetVersion(&driver), "cudaDriverGetVersion");
    line.add("device", stream.device_name())
        .add("cuda", std::int64_t{runtime})
        .add("driver", std::int64_t{driver})
        .add("cudnn", static_cast<std::int64_t>(cudnnGetVersion()))
        .add("workspace_bytes", static_cast<std::int64_t>(stream.workspace_used()))
        .add("scratch_bytes", static_cast<std::int64_t>(stream.scratch_used()));
  }
};

#endif

}  // namespace bench
