// SPDX-License-Identifier: Apache-2.0
// Counts what a CUDA program does between cudaProfilerStart and cudaProfilerStop, from outside: CUPTI's activity
// records see every kernel, those inside graphs too, and CUPTI's callbacks see every call of the runtime and of the
// driver, those of cuDNN and cuBLASLt too. The CUDA driver loads this library where CUDA_INJECTION64_PATH names it;
// count.py does that.
#include <cuda.h>
#include <cupti.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace {

struct Record {
  std::uint64_t start, end;
  std::string name;
  bool in_graph;
};

struct State {
  std::mutex mutex;
  bool active = false;
  std::uint64_t begin = 0, end = 0;
  std::map<std::string, std::int64_t> calls;
  std::vector<Record> kernels, copies, waits;
  std::size_t dropped = 0;
  std::vector<std::string> problems;
};
// Never destroyed: records may arrive while the process ends.
State& state() {
  static State* const instance = new State;
  return *instance;
}

thread_local int depth = 0;

void require(CUptiResult result, char const* call) {
  if (result == CUPTI_SUCCESS) return;
  char const* text = nullptr;
  cuptiGetResultString(result, &text);
  std::lock_guard const lock(state().mutex);
  state().problems.push_back(std::string(call) + ": " + (text == nullptr ? "unknown" : text));
}

char const* copy_name(unsigned kind) {
  switch (kind) {
    case CUPTI_ACTIVITY_MEMCPY_KIND_HTOD: return "host_to_device";
    case CUPTI_ACTIVITY_MEMCPY_KIND_DTOH: return "device_to_host";
    case CUPTI_ACTIVITY_MEMCPY_KIND_DTOD: return "device_to_device";
    default: return "other";
  }
}

char const* wait_name(unsigned type) {
  switch (type) {
    case CUPTI_ACTIVITY_SYNCHRONIZATION_TYPE_EVENT_SYNCHRONIZE: return "event";
    case CUPTI_ACTIVITY_SYNCHRONIZATION_TYPE_STREAM_SYNCHRONIZE: return "stream";
    case CUPTI_ACTIVITY_SYNCHRONIZATION_TYPE_CONTEXT_SYNCHRONIZE: return "context";
    default: return "";
  }
}

void CUPTIAPI give_buffer(std::uint8_t** buffer, std::size_t* size, std::size_t* most_records) {
  *size = std::size_t{8} << 20;
  *buffer = static_cast<std::uint8_t*>(std::aligned_alloc(8, *size));
  *most_records = 0;
}

void take_record(CUpti_Activity const* activity) {
  State& s = state();
  switch (activity->kind) {
    case CUPTI_ACTIVITY_KIND_KERNEL:
    case CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL: {
      auto const* const kernel = reinterpret_cast<CUpti_ActivityKernel10 const*>(activity);
      s.kernels.push_back({kernel->start, kernel->end, kernel->name, kernel->graphNodeId != 0});
      break;
    }
    case CUPTI_ACTIVITY_KIND_MEMCPY: {
      auto const* const copy = reinterpret_cast<CUpti_ActivityMemcpy6 const*>(activity);
      s.copies.push_back({copy->start, copy->end, copy_name(copy->copyKind), copy->graphNodeId != 0});
      break;
    }
    case CUPTI_ACTIVITY_KIND_MEMSET: {
      auto const* const fill = reinterpret_cast<CUpti_ActivityMemset4 const*>(activity);
      s.copies.push_back({fill->start, fill->end, "fill", fill->graphNodeId != 0});
      break;
    }
    case CUPTI_ACTIVITY_KIND_SYNCHRONIZATION: {
      auto const* const wait = reinterpret_cast<CUpti_ActivitySynchronization2 const*>(activity);
      std::string const name = wait_name(wait->type);
      if (!name.empty()) s.waits.push_back({wait->start, wait->end, name, false});
      break;
    }
    default: break;
  }
}

void CUPTIAPI take_buffer(CUcontext context, std::uint32_t stream, std::uint8_t* buffer, std::size_t,
                          std::size_t valid) {
  {
    std::lock_guard const lock(state().mutex);
    CUpti_Activity* record = nullptr;
    while (valid > 0 && cuptiActivityGetNextRecord(buffer, valid, &record) == CUPTI_SUCCESS) take_record(record);
    std::size_t dropped = 0;
    if (cuptiActivityGetNumDroppedRecords(context, stream, &dropped) == CUPTI_SUCCESS) state().dropped += dropped;
  }
  std::free(buffer);
}

std::uint64_t now() {
  std::uint64_t time = 0;
  require(cuptiGetTimestamp(&time), "cuptiGetTimestamp");
  return time;
}

void set_active(bool active) {
  std::uint64_t const time = now();
  std::lock_guard const lock(state().mutex);
  if (state().active == active) return;
  state().active = active;
  (active ? state().begin : state().end) = time;
}

void CUPTIAPI on_call(void*, CUpti_CallbackDomain domain, CUpti_CallbackId id, void const* data) {
  auto const* const call = static_cast<CUpti_CallbackData const*>(data);
  bool const enters = call->callbackSite == CUPTI_API_ENTER;
  bool const driver = domain == CUPTI_CB_DOMAIN_DRIVER_API;
  bool const starts = id == (driver ? unsigned{CUPTI_DRIVER_TRACE_CBID_cuProfilerStart}
                                    : unsigned{CUPTI_RUNTIME_TRACE_CBID_cudaProfilerStart_v4000});
  bool const stops = id == (driver ? unsigned{CUPTI_DRIVER_TRACE_CBID_cuProfilerStop}
                                   : unsigned{CUPTI_RUNTIME_TRACE_CBID_cudaProfilerStop_v4000});
  if (stops && enters) set_active(false);
  // The driver calls that a runtime call makes are part of it, not calls of their own.
  if (enters && depth++ == 0 && !starts && !stops) {
    std::lock_guard const lock(state().mutex);
    if (state().active) ++state().calls[call->functionName];
  }
  if (!enters) --depth;
  if (starts && !enters) set_active(true);
}

std::string quoted(std::string_view text) {
  std::string result = "\"";
  for (char const character : text) {
    if (character == '"' || character == '\\') result += '\\';
    result += static_cast<unsigned char>(character) < ' ' ? ' ' : character;
  }
  return result + '"';
}

struct Total {
  std::int64_t count = 0, in_graph = 0;
  std::uint64_t nanoseconds = 0;
};

std::string totals(std::vector<Record> const& records) {
  std::map<std::string, Total> by_name;
  for (Record const& record : records) {
    if (record.start < state().begin || record.start > state().end) continue;
    Total& total = by_name[record.name];
    ++total.count;
    total.in_graph += record.in_graph ? 1 : 0;
    total.nanoseconds += record.end - record.start;
  }
  std::string result = "{";
  for (auto const& [name, total] : by_name) {
    if (result.size() > 1) result += ", ";
    result += quoted(name) + ": {\"count\": " + std::to_string(total.count) +
              ", \"in_graph\": " + std::to_string(total.in_graph) +
              ", \"nanoseconds\": " + std::to_string(total.nanoseconds) + "}";
  }
  return result + "}";
}

void write_counts() {
  require(cuptiActivityFlushAll(CUPTI_ACTIVITY_FLAG_FLUSH_FORCED), "cuptiActivityFlushAll");
  State& s = state();
  std::lock_guard const lock(s.mutex);
  std::string calls = "{", problems = "[";
  for (auto const& [name, count] : s.calls) {
    calls += (calls.size() > 1 ? ", " : "") + quoted(name) + ": " + std::to_string(count);
  }
  for (std::string const& problem : s.problems) problems += (problems.size() > 1 ? ", " : "") + quoted(problem);
  std::string const text = "{\"nanoseconds\": " + std::to_string(s.end - s.begin) + ", \"calls\": " + calls +
                           "}, \"kernels\": " + totals(s.kernels) + ", \"copies\": " + totals(s.copies) +
                           ", \"waits\": " + totals(s.waits) + ", \"dropped_records\": " + std::to_string(s.dropped) +
                           ", \"problems\": " + problems + "]}\n";
  char const* const path = std::getenv("MIXPREC_COUNTERS_FILE");
  std::FILE* const file = path == nullptr ? stderr : std::fopen(path, "w");
  if (file == nullptr) {
    std::fprintf(stderr, "counters: %s cannot be written. Set MIXPREC_COUNTERS_FILE to another path.\n", path);
    return;
  }
  std::fputs(text.c_str(), file);
  if (file != stderr) std::fclose(file);
}

}  // namespace

/// Called by the CUDA driver when it starts; 1 says that all is well.
extern "C" int InitializeInjection() {
  CUpti_SubscriberHandle subscriber = nullptr;
  require(cuptiSubscribe(&subscriber, on_call, nullptr), "cuptiSubscribe");
  for (CUpti_CallbackDomain domain : {CUPTI_CB_DOMAIN_RUNTIME_API, CUPTI_CB_DOMAIN_DRIVER_API}) {
    require(cuptiEnableDomain(1, subscriber, domain), "cuptiEnableDomain");
  }
  require(cuptiActivityRegisterCallbacks(give_buffer, take_buffer), "cuptiActivityRegisterCallbacks");
  for (CUpti_ActivityKind kind : {CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL, CUPTI_ACTIVITY_KIND_MEMCPY,
                                  CUPTI_ACTIVITY_KIND_MEMSET, CUPTI_ACTIVITY_KIND_SYNCHRONIZATION}) {
    require(cuptiActivityEnable(kind), "cuptiActivityEnable");
  }
  std::atexit(write_counts);
  return 1;
}
