// SPDX-License-Identifier: Apache-2.0
// A thin layer over cuDNN's backend C API: status check, owned descriptors, engines, execution plans.
#pragma once

#include <algorithm>  // std::min, std::find
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <utility>  // std::exchange, std::pair
#include <vector>

#include <cudnn_graph.h>

#include <mixprec/backend/cuda/plan_cache.hpp>
#include <mixprec/backend/cuda/stream.hpp>
#include <mixprec/error.hpp>

namespace mixprec::inline MIXPREC_ABI::cuda {

/// Throws where `status` is not success; `call` names the function with its values.
inline void check(cudnnStatus_t status, char const* call) {
  if (status == CUDNN_STATUS_SUCCESS) [[likely]]
    return;
  char detail[512] = "";
  cudnnGetLastErrorString(detail, sizeof(detail));
  char const* remedy = "Set CUDNN_LOGLEVEL_DBG=2 and CUDNN_LOGDEST_DBG=stderr to see cuDNN's reasons";
  int const category = static_cast<int>(status) / 1000 * 1000;
  if (category == 1000) remedy = "Check that cuDNN's libraries are complete, of one version, and fit the driver";
  if (category == 5000) remedy = "An earlier kernel may have failed: run under compute-sanitizer to find it";
  throw Error("cuda: " + std::string(call) + " failed: " + cudnnGetErrorString(status) + " (" +
              std::to_string(static_cast<int>(status)) + ")" + (detail[0] == '\0' ? "" : ": ") + detail + ". " +
              remedy + ".");
}

namespace detail {

/// Owner of one backend descriptor.
class CudnnDescriptor {
 public:
  CudnnDescriptor() = default;
  explicit CudnnDescriptor(cudnnBackendDescriptorType_t type) {
    check(cudnnBackendCreateDescriptor(type, &descriptor_), "cudnnBackendCreateDescriptor");
  }
  CudnnDescriptor(CudnnDescriptor&& other) noexcept : descriptor_(std::exchange(other.descriptor_, nullptr)) {}
  CudnnDescriptor& operator=(CudnnDescriptor&& other) noexcept {
    std::swap(descriptor_, other.descriptor_);
    return *this;
  }
  ~CudnnDescriptor() {
    if (descriptor_ != nullptr) cudnnBackendDestroyDescriptor(descriptor_);
  }

  cudnnBackendDescriptor_t get() const { return descriptor_; }

  template <class T>
  CudnnDescriptor& set(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, T const* values,
                       std::size_t count) {
    cudnnStatus_t const status =
        cudnnBackendSetAttribute(descriptor_, name, type, static_cast<std::int64_t>(count), values);
    if (status != CUDNN_STATUS_SUCCESS) {
      check(status, ("cudnnBackendSetAttribute " + std::to_string(static_cast<int>(name))).c_str());
    }
    return *this;
  }
  template <class T>
  CudnnDescriptor& set(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, T value) {
    return set(name, type, &value, 1);
  }
  CudnnDescriptor& set(cudnnBackendAttributeName_t name, std::vector<std::int64_t> const& values) {
    return set(name, CUDNN_TYPE_INT64, values.data(), values.size());
  }
  CudnnDescriptor& set(cudnnBackendAttributeName_t name, CudnnDescriptor const& other) {
    return set(name, CUDNN_TYPE_BACKEND_DESCRIPTOR, other.get());
  }
  CudnnDescriptor& set(cudnnBackendAttributeName_t name, std::vector<CudnnDescriptor> const& others) {
    std::vector<cudnnBackendDescriptor_t> raw;
    for (CudnnDescriptor const& other : others) raw.push_back(other.get());
    return set(name, CUDNN_TYPE_BACKEND_DESCRIPTOR, raw.data(), raw.size());
  }

  cudnnStatus_t try_finalize() const { return cudnnBackendFinalize(descriptor_); }
  void finalize(char const* what) const { check(try_finalize(), what); }

  /// Number of values read, at most `capacity`; 0 where the attribute is not available.
  template <class T>
  std::size_t get(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, T* values,
                  std::size_t capacity) const {
    std::int64_t count = 0;
    if (cudnnBackendGetAttribute(descriptor_, name, type, static_cast<std::int64_t>(capacity), &count, values) !=
        CUDNN_STATUS_SUCCESS) {
      return 0;
    }
    return std::min(capacity, static_cast<std::size_t>(count));
  }
  std::int64_t get_int64(cudnnBackendAttributeName_t name, std::int64_t otherwise) const {
    std::int64_t value = otherwise;
    return get(name, CUDNN_TYPE_INT64, &value, 1) == 1 ? value : otherwise;
  }

 private:
  cudnnBackendDescriptor_t descriptor_ = nullptr;
};

/// cuDNN's handle for one Stream (Stream::attached).
class CudnnHandle {
 public:
  explicit CudnnHandle(Stream& stream) {
    check(cudnnCreate(&handle_), "cudnnCreate");
    check(cudnnSetStream(handle_, stream.handle()), "cudnnSetStream");
  }
  CudnnHandle(CudnnHandle const&) = delete;
  CudnnHandle& operator=(CudnnHandle const&) = delete;
  ~CudnnHandle() { cudnnDestroy(handle_); }
  operator cudnnHandle_t() const { return handle_; }

 private:
  cudnnHandle_t handle_ = nullptr;
};

/// A tensor of `dtype` with 16-byte aligned memory. A virtual tensor lives inside a fused graph only.
inline CudnnDescriptor cudnn_tensor(std::int64_t uid, cudnnDataType_t dtype, std::vector<std::int64_t> const& extents,
                                    std::vector<std::int64_t> const& strides, bool is_virtual = false) {
  CudnnDescriptor tensor(CUDNN_BACKEND_TENSOR_DESCRIPTOR);
  tensor.set(CUDNN_ATTR_TENSOR_UNIQUE_ID, CUDNN_TYPE_INT64, uid)
      .set(CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, dtype)
      .set(CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, CUDNN_TYPE_INT64, std::int64_t{16})
      .set(CUDNN_ATTR_TENSOR_DIMENSIONS, extents)
      .set(CUDNN_ATTR_TENSOR_STRIDES, strides)
      .set(CUDNN_ATTR_TENSOR_IS_VIRTUAL, CUDNN_TYPE_BOOLEAN, is_virtual);
  tensor.finalize("cudnnBackendFinalize of a tensor");
  return tensor;
}

/// True where the engine behind `config` carries none of the `forbidden` numerical notes.
inline bool engine_allowed(CudnnDescriptor const& config,
                           std::initializer_list<cudnnBackendNumericalNote_t> forbidden) {
  CudnnDescriptor const engine(CUDNN_BACKEND_ENGINE_DESCRIPTOR);
  cudnnBackendDescriptor_t raw = engine.get();
  if (config.get(CUDNN_ATTR_ENGINECFG_ENGINE, CUDNN_TYPE_BACKEND_DESCRIPTOR, &raw, 1) != 1) return false;
  cudnnBackendNumericalNote_t notes[CUDNN_NUMERICAL_NOTE_TYPE_COUNT];
  std::size_t const count = engine.get(CUDNN_ATTR_ENGINE_NUMERICAL_NOTE, CUDNN_TYPE_NUMERICAL_NOTE, notes,
                                       std::size_t{CUDNN_NUMERICAL_NOTE_TYPE_COUNT});
  for (cudnnBackendNumericalNote_t note : forbidden) {
    if (std::find(notes, notes + count, note) != notes + count) return false;
  }
  return true;
}

/// Engine and knobs of a configuration that a heuristic proposed.
inline EngineChoice choice_of(CudnnDescriptor const& config) {
  CudnnDescriptor const engine(CUDNN_BACKEND_ENGINE_DESCRIPTOR);
  cudnnBackendDescriptor_t raw_engine = engine.get();
  EngineChoice choice{-1, {}};
  if (config.get(CUDNN_ATTR_ENGINECFG_ENGINE, CUDNN_TYPE_BACKEND_DESCRIPTOR, &raw_engine, 1) != 1) return choice;
  choice.engine = engine.get_int64(CUDNN_ATTR_ENGINE_GLOBAL_INDEX, -1);
  std::vector<CudnnDescriptor> knobs;
  std::vector<cudnnBackendDescriptor_t> raw;
  for (int i = 0; i < CUDNN_KNOB_TYPE_COUNTS; ++i) {
    knobs.emplace_back(CUDNN_BACKEND_KNOB_CHOICE_DESCRIPTOR);
    raw.push_back(knobs.back().get());
  }
  std::size_t const count =
      config.get(CUDNN_ATTR_ENGINECFG_KNOB_CHOICES, CUDNN_TYPE_BACKEND_DESCRIPTOR, raw.data(), raw.size());
  for (std::size_t i = 0; i < count; ++i) {
    std::int64_t type = -1;
    cudnnBackendKnobType_t knob_type{};
    if (knobs[i].get(CUDNN_ATTR_KNOB_CHOICE_KNOB_TYPE, CUDNN_TYPE_KNOB_TYPE, &knob_type, 1) == 1) {
      type = static_cast<std::int64_t>(knob_type);
    }
    choice.knobs.emplace_back(type, knobs[i].get_int64(CUDNN_ATTR_KNOB_CHOICE_KNOB_VALUE, 0));
  }
  return choice;
}

/// What the heuristic `mode` proposes for a finalized operation graph, best first; empty where it has nothing.
inline std::vector<CudnnDescriptor> propose(CudnnDescriptor const& graph, cudnnBackendHeurMode_t mode) {
  CudnnDescriptor heuristic(CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR);
  heuristic.set(CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, graph)
      .set(CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, mode);
  std::vector<CudnnDescriptor> configs;
  std::int64_t count = 0;
  if (heuristic.try_finalize() != CUDNN_STATUS_SUCCESS) return configs;
  if (cudnnBackendGetAttribute(heuristic.get(), CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_TYPE_BACKEND_DESCRIPTOR, 0, &count,
                               nullptr) != CUDNN_STATUS_SUCCESS) {
    return configs;
  }
  std::vector<cudnnBackendDescriptor_t> raw;
  for (std::int64_t i = 0; i < count; ++i) {
    configs.emplace_back(CUDNN_BACKEND_ENGINECFG_DESCRIPTOR);
    raw.push_back(configs.back().get());
  }
  std::size_t const found =
      heuristic.get(CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_TYPE_BACKEND_DESCRIPTOR, raw.data(), raw.size());
  configs.resize(found);
  return configs;
}

/// A configuration and the descriptors that it was put together from.
struct CudnnConfig {
  CudnnDescriptor config;
  std::vector<CudnnDescriptor> parts;
};

/// Puts together the configuration that a stored choice stands for; false where this cuDNN does not accept it.
inline bool configure(CudnnDescriptor const& graph, EngineChoice const& choice, CudnnConfig& result) {
  try {
    CudnnDescriptor engine(CUDNN_BACKEND_ENGINE_DESCRIPTOR);
    engine.set(CUDNN_ATTR_ENGINE_OPERATION_GRAPH, graph)
        .set(CUDNN_ATTR_ENGINE_GLOBAL_INDEX, CUDNN_TYPE_INT64, choice.engine);
    engine.finalize("cudnnBackendFinalize of a stored engine");
    std::vector<CudnnDescriptor> knobs;
    for (auto const& [type, value] : choice.knobs) {
      knobs.emplace_back(CUDNN_BACKEND_KNOB_CHOICE_DESCRIPTOR);
      knobs.back()
          .set(CUDNN_ATTR_KNOB_CHOICE_KNOB_TYPE, CUDNN_TYPE_KNOB_TYPE, static_cast<cudnnBackendKnobType_t>(type))
          .set(CUDNN_ATTR_KNOB_CHOICE_KNOB_VALUE, CUDNN_TYPE_INT64, value);
      knobs.back().finalize("cudnnBackendFinalize of a stored knob");
    }
    CudnnDescriptor config(CUDNN_BACKEND_ENGINECFG_DESCRIPTOR);
    config.set(CUDNN_ATTR_ENGINECFG_ENGINE, engine);
    if (!knobs.empty()) config.set(CUDNN_ATTR_ENGINECFG_KNOB_CHOICES, knobs);
    config.finalize("cudnnBackendFinalize of a stored engine configuration");
    result.config = std::move(config);
    result.parts = std::move(knobs);
    result.parts.push_back(std::move(engine));
    return true;
  } catch (Error const&) {
    return false;
  }
}

/// A finalized execution plan and the workspace that it needs.
struct CudnnPlan {
  CudnnConfig config;
  CudnnDescriptor plan;
  std::size_t workspace = 0;
};

/// Builds the plan of a configuration; false where the engine turns out not to support it.
inline bool build_plan(cudnnHandle_t handle, CudnnConfig config, CudnnPlan& result) {
  CudnnDescriptor plan(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR);
  plan.set(CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, handle)
      .set(CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, config.config);
  if (plan.try_finalize() != CUDNN_STATUS_SUCCESS) return false;
  std::int64_t const workspace = plan.get_int64(CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE, -1);
  if (workspace < 0) return false;
  result.config = std::move(config);
  result.plan = std::move(plan);
  result.workspace = static_cast<std::size_t>(workspace);
  return true;
}

/// Runs a plan; `pointers` are bound to `uids` in order.
inline cudnnStatus_t execute(cudnnHandle_t handle, CudnnPlan const& plan, std::vector<std::int64_t> const& uids,
                             std::vector<void*> const& pointers, void* workspace) {
  CudnnDescriptor pack(CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR);
  pack.set(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, uids)
      .set(CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR, pointers.data(), pointers.size())
      .set(CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, workspace);
  pack.finalize("cudnnBackendFinalize of a variant pack");
  return cudnnBackendExecute(handle, plan.plan.get(), pack.get());
}

}  // namespace detail

}  // namespace mixprec::inline MIXPREC_ABI::cuda
