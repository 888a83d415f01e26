// SPDX-License-Identifier: Apache-2.0
// Convolutions as cuDNN graphs: building them, timing the engines that cuDNN proposes beside our own kernels, keeping
// the fastest, workspace considered.
#pragma once

#include <algorithm>  // std::sort, std::find, std::clamp
#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <map>
#include <string>
#include <utility>  // std::move
#include <vector>

#include <mixprec/backend/cuda/cublaslt.hpp>  // its version is part of the cache's keys
#include <mixprec/backend/cuda/cudnn.hpp>
#include <mixprec/backend/cuda/memory.hpp>
#include <mixprec/backend/cuda/plan_cache.hpp>
#include <mixprec/backend/cuda/stream.hpp>
#include <mixprec/backend/geometry.hpp>
#include <mixprec/dtype/dtype.hpp>
#include <mixprec/error.hpp>

namespace mixprec::inline MIXPREC_ABI::cuda {

enum class ConvOp : int { forward = 0, forward_bias = 1, backward_input = 2, backward_weight = 3 };

constexpr char const* name_of(ConvOp op) {
  constexpr char const* names[] = {"conv2d_forward", "conv2d_forward with bias", "conv2d_backward_input",
                                   "conv2d_backward_weight"};
  return names[static_cast<int>(op)];
}

/// What serves one convolution.
struct ConvPlanInfo {
  bool found = false;         // false: nothing admissible was found, our plain kernel runs
  bool from_disk = false;     // the choice was read from the cache
  int candidates = 0;         // engine configurations and own kernels that were timed
  int excluded = 0;           // proposals that break the rules on precision or determinism
  double microseconds = 0;    // of the winner, 0 where nothing was timed
  std::size_t workspace = 0;  // bytes
  char const* own = nullptr;  // the name of our kernel, where one of ours serves
  EngineChoice choice;
};

namespace detail {

/// A kernel of this library that can take cuDNN's place. `number` is below all of cuDNN's and stands in the plan cache;
/// `run` takes x, w and y, of which the operation's result is written. `workspace`: what it takes of the library
/// workspace.
struct OwnConv {
  std::int64_t number;
  char const* name;
  std::size_t workspace;
  void (*run)(Stream&, ConvGeometry const&, void* x, void* w, void* y);
};

/// Our kernels for an operation, asked for when it is planned.
using OwnConvs = std::vector<OwnConv> (*)(Stream const&, ConvOp, ConvGeometry const&);

/// Part of the cache's keys: raised where own kernels appear or get faster, so that everything is timed again.
inline constexpr int own_convs_revision = 2;

/// Plans of one Stream (Stream::attached), by operation, geometry, dtype and settings.
class ConvPlans {
 public:
  explicit ConvPlans(Stream& stream) : stream_(stream), handle_(stream.attached<CudnnHandle>()) {}
  ConvPlans(ConvPlans const&) = delete;
  ConvPlans& operator=(ConvPlans const&) = delete;

  /// Runs the operation on (x, w, y[, bias]), the last two or three being gradients in the backward operations, or
  /// returns false where nothing admissible was found for it.
  /// Errors: Error where the operation is not planned yet and a CUDA graph is being captured.
  bool run(ConvOp op, ConvGeometry const& g, DType dtype, OwnConvs own, void const* x, void const* w, void const* y,
           void const* bias) {
    Entry const& entry = plan(op, g, dtype, own);
    if (!entry.info.found) return false;
    std::vector<void*> pointers{const_cast<void*>(x), const_cast<void*>(w), const_cast<void*>(y)};
    if (entry.run_own != nullptr) {
      entry.run_own(stream_, g, pointers[0], pointers[1], pointers[2]);
      return true;
    }
    if (op == ConvOp::forward_bias) pointers.push_back(const_cast<void*>(bias));
    cudnnStatus_t const status =
        execute(handle_, entry.plan, uids(op), pointers, stream_.workspace(entry.plan.workspace));
    if (status != CUDNN_STATUS_SUCCESS) check(status, ("cudnnBackendExecute of " + text(op, g, dtype)).c_str());
    return true;
  }

  /// Plans the operation, as run would.
  ConvPlanInfo const& info(ConvOp op, ConvGeometry const& g, DType dtype, OwnConvs own) {
    return plan(op, g, dtype, own).info;
  }

 private:
  static constexpr std::int64_t uid_x = 1, uid_w = 2, uid_y = 3, uid_bias = 4, uid_sum = 5;
  // How many proposals of cuDNN's heuristics are timed: they rank well, A best, and building one costs far more time
  // than running it. The fallback's are for what neither of the others can do.
  static constexpr int most_candidates(cudnnBackendHeurMode_t mode) { return mode == CUDNN_HEUR_MODE_A ? 8 : 4; }

  /// What a candidate is chosen by: a GiB of workspace has to save a tenth of the time.
  static double cost(double microseconds, std::size_t workspace) {
    return microseconds * (1 + 0.1 * static_cast<double>(workspace) / static_cast<double>(std::size_t{1} << 30));
  }

  struct Graph {
    std::vector<CudnnDescriptor> parts;
    std::vector<CudnnDescriptor> operations;
    CudnnDescriptor graph;
  };
  struct Entry {
    Graph graph;
    CudnnPlan plan;
    decltype(OwnConv::run) run_own = nullptr;
    ConvPlanInfo info;
  };
  using Key = std::array<std::int64_t, 16>;

  // Owners of what a timing makes, so that an Error on the way leaks nothing.
  struct Event {
    Event() { check(cudaEventCreate(&value), "cudaEventCreate"); }
    Event(Event const&) = delete;
    Event& operator=(Event const&) = delete;
    ~Event() { cudaEventDestroy(value); }
    cudaEvent_t value = nullptr;
  };
  struct CapturedGraph {
    CapturedGraph() = default;
    CapturedGraph(CapturedGraph const&) = delete;
    CapturedGraph& operator=(CapturedGraph const&) = delete;
    ~CapturedGraph() {
      if (executable != nullptr) cudaGraphExecDestroy(executable);
      if (graph != nullptr) cudaGraphDestroy(graph);
    }
    cudaGraph_t graph = nullptr;
    cudaGraphExec_t executable = nullptr;
  };

  static std::string text(ConvOp op, ConvGeometry const& g, DType dtype) {
    auto const number = [](std::int64_t value) { return std::to_string(value); };
    return std::string(name_of(op)) + " " + mixprec::name_of(dtype) + " x(" + number(g.n) + "," + number(g.h) + "," +
           number(g.w) + "," + number(g.c) + ") w(" + number(g.k) + "," + number(g.r) + "," + number(g.s) + "," +
           number(g.c / g.groups) + ") y(" + number(g.n) + "," + number(g.p) + "," + number(g.q) + "," + number(g.k) +
           ") stride " + number(g.stride) + " padding " + number(g.padding) + " dilation " + number(g.dilation) +
           " groups " + number(g.groups);
  }
  bool tf32(DType dtype) const { return dtype == DType::float32 && stream_.allow_tf32(); }
  std::string disk_key(ConvOp op, ConvGeometry const& g, DType dtype) const {
    return "cudnn " + std::to_string(cudnnGetVersion()) + "|" + stream_.device_name() + "|" +
           std::to_string(stream_.multiprocessors()) + "|cublaslt " + std::to_string(cublasLtGetVersion()) + "|" +
           text(op, g, dtype) + (tf32(dtype) ? " tf32" : "") + " workspace " + std::to_string(stream_.workspace_cap()) +
           " own " + std::to_string(own_convs_revision);
  }
  static std::vector<std::int64_t> uids(ConvOp op) {
    std::vector<std::int64_t> result{uid_x, uid_w, uid_y};
    if (op == ConvOp::forward_bias) result.push_back(uid_bias);
    return result;
  }
  static cudnnDataType_t cudnn_data_type(DType dtype) {
    switch (dtype) {
      case DType::float16: return CUDNN_DATA_HALF;
      case DType::bfloat16: return CUDNN_DATA_BFLOAT16;
      default: return CUDNN_DATA_FLOAT;
    }
  }

  // False where cuDNN does not know the pattern. Extents are in cuDNN's order (N,C,H,W); the strides say NHWC.
  bool build_graph(ConvOp op, ConvGeometry const& g, DType dtype, Graph& result) const {
    cudnnDataType_t const type = cudnn_data_type(dtype);
    std::int64_t const channels = g.c / g.groups;
    bool const has_bias = op == ConvOp::forward_bias;
    std::vector<std::int64_t> const y_extents{g.n, g.k, g.p, g.q}, y_strides{g.p * g.q * g.k, 1, g.q * g.k, g.k};
    auto& parts = result.parts;
    parts.push_back(cudnn_tensor(uid_x, type, {g.n, g.c, g.h, g.w}, {g.h * g.w * g.c, 1, g.w * g.c, g.c}));
    parts.push_back(
        cudnn_tensor(uid_w, type, {g.k, channels, g.r, g.s}, {g.r * g.s * channels, 1, g.s * channels, channels}));
    parts.push_back(cudnn_tensor(uid_y, type, y_extents, y_strides));

    CudnnDescriptor convolution(CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR);
    convolution.set(CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, CUDNN_DATA_FLOAT)
        .set(CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_TYPE_CONVOLUTION_MODE, CUDNN_CROSS_CORRELATION)
        .set(CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, CUDNN_TYPE_INT64, std::int64_t{2})
        .set(CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, {g.padding, g.padding})
        .set(CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, {g.padding, g.padding})
        .set(CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, {g.stride, g.stride})
        .set(CUDNN_ATTR_CONVOLUTION_DILATIONS, {g.dilation, g.dilation});
    convolution.finalize("cudnnBackendFinalize of a convolution");

    auto const operation = [&](cudnnBackendDescriptorType_t kind, cudnnBackendAttributeName_t conv,
                               cudnnBackendAttributeName_t x, cudnnBackendAttributeName_t w,
                               cudnnBackendAttributeName_t y, cudnnBackendAttributeName_t alpha,
                               cudnnBackendAttributeName_t beta, CudnnDescriptor const& y_tensor) {
      CudnnDescriptor descriptor(kind);
      descriptor.set(conv, convolution)
          .set(x, parts[0])
          .set(w, parts[1])
          .set(y, y_tensor)
          .set(alpha, CUDNN_TYPE_FLOAT, 1.0f)
          .set(beta, CUDNN_TYPE_FLOAT, 0.0f);
      descriptor.finalize(("cudnnBackendFinalize of " + text(op, g, dtype)).c_str());
      result.operations.push_back(std::move(descriptor));
    };
    if (has_bias) parts.push_back(cudnn_tensor(uid_sum, CUDNN_DATA_FLOAT, y_extents, y_strides, true));
    if (op == ConvOp::forward || has_bias) {
      operation(CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR,
                CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X,
                CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y,
                CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA,
                has_bias ? parts[3] : parts[2]);
    } else if (op == ConvOp::backward_input) {
      operation(CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR,
                CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX,
                CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY,
                CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA,
                parts[2]);
    } else {
      operation(CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR,
                CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X,
                CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY,
                CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_ALPHA, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_BETA,
                parts[2]);
    }
    parts.push_back(std::move(convolution));
    if (has_bias) {
      CudnnDescriptor add(CUDNN_BACKEND_POINTWISE_DESCRIPTOR);
      add.set(CUDNN_ATTR_POINTWISE_MODE, CUDNN_TYPE_POINTWISE_MODE, CUDNN_POINTWISE_ADD)
          .set(CUDNN_ATTR_POINTWISE_MATH_PREC, CUDNN_TYPE_DATA_TYPE, CUDNN_DATA_FLOAT);
      add.finalize("cudnnBackendFinalize of an addition");
      CudnnDescriptor bias = cudnn_tensor(uid_bias, type, {1, g.k, 1, 1}, {g.k, 1, g.k, g.k});
      CudnnDescriptor addition(CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR);
      addition.set(CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, add)
          .set(CUDNN_ATTR_OPERATION_POINTWISE_XDESC, parts[3])
          .set(CUDNN_ATTR_OPERATION_POINTWISE_BDESC, bias)
          .set(CUDNN_ATTR_OPERATION_POINTWISE_YDESC, parts[2]);
      addition.finalize("cudnnBackendFinalize of a bias");
      result.operations.push_back(std::move(addition));
      parts.push_back(std::move(add));
      parts.push_back(std::move(bias));
    }
    result.graph = CudnnDescriptor(CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR);
    result.graph.set(CUDNN_ATTR_OPERATIONGRAPH_HANDLE, CUDNN_TYPE_HANDLE, static_cast<cudnnHandle_t>(handle_))
        .set(CUDNN_ATTR_OPERATIONGRAPH_OPS, result.operations);
    cudnnStatus_t const status = result.graph.try_finalize();
    if (static_cast<int>(status) / 1000 == 3) return false;  // CUDNN_STATUS_NOT_SUPPORTED and its kinds
    if (status != CUDNN_STATUS_SUCCESS) check(status, ("cudnnBackendFinalize of " + text(op, g, dtype)).c_str());
    return true;
  }

  // Sums must be in float and in a fixed order; a float convolution keeps all bits of its operands.
  bool allowed(CudnnDescriptor const& config, DType dtype) const {
    if (!engine_allowed(config,
                        {CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC, CUDNN_NUMERICAL_NOTE_REDUCED_PRECISION_REDUCTION,
                         CUDNN_NUMERICAL_NOTE_FFT, CUDNN_NUMERICAL_NOTE_WINOGRAD})) {
      return false;
    }
    return dtype != DType::float32 || tf32(dtype) ||
           engine_allowed(config, {CUDNN_NUMERICAL_NOTE_TENSOR_CORE, CUDNN_NUMERICAL_NOTE_DOWN_CONVERT_INPUTS});
  }

  Entry const& plan(ConvOp op, ConvGeometry const& g, DType dtype, OwnConvs own_convs) {
    Key const key{static_cast<int>(op),
                  static_cast<int>(dtype) + 256 * tf32(dtype),
                  static_cast<std::int64_t>(stream_.workspace_cap()),
                  g.n,
                  g.h,
                  g.w,
                  g.c,
                  g.k,
                  g.r,
                  g.s,
                  g.p,
                  g.q,
                  g.stride,
                  g.padding,
                  g.dilation,
                  g.groups};
    auto const at = entries_.find(key);
    if (at != entries_.end()) return at->second;
    if (stream_.capturing()) {
      throw Error("cuda: " + text(op, g, dtype) +
                  " has no plan yet and a CUDA graph is being captured. Run one eager step of the same shapes first.");
    }
    Entry entry;
    std::vector<OwnConv> const own = own_convs(stream_, op, g);
    bool const cudnn = build_graph(op, g, dtype, entry.graph);
    if (cudnn || !own.empty()) {
      std::string const name = disk_key(op, g, dtype);
      if (!recall(name, dtype, own, cudnn, entry) && tune(op, g, dtype, own, cudnn, entry) &&
          entry.info.microseconds > 0) {
        cache_.store(name, entry.info.choice);
      }
    }
    return entries_.emplace(key, std::move(entry)).first->second;
  }

  // Takes the choice that an earlier process stored. It is held against the same rules as a new one, because a file can
  // be damaged and still parse.
  bool recall(std::string const& name, DType dtype, std::vector<OwnConv> const& own, bool cudnn, Entry& entry) {
    EngineChoice const* const choice = cache_.find(name);
    if (choice == nullptr) return false;
    for (OwnConv const& kernel : own) {
      if (kernel.number != choice->engine) continue;
      take(kernel, 0, entry);
      entry.info.from_disk = true;
      return true;
    }
    CudnnConfig config;
    if (!cudnn || !configure(entry.graph.graph, *choice, config) || !allowed(config.config, dtype)) return false;
    CudnnPlan plan;
    if (!build_plan(handle_, std::move(config), plan) || plan.workspace > stream_.workspace_cap()) return false;
    entry.info = {true, true, 0, 0, 0, plan.workspace, nullptr, *choice};
    entry.plan = std::move(plan);
    return true;
  }

  static void take(OwnConv const& kernel, double time, Entry& entry) {
    entry.info.found = true;
    entry.info.microseconds = time;
    entry.info.workspace = kernel.workspace;
    entry.info.own = kernel.name;
    entry.info.choice = {kernel.number, {}};
    entry.plan = CudnnPlan();
    entry.run_own = kernel.run;
  }

  // Times our kernels and what cuDNN proposes on throw-away buffers, since live ones may be read or written in place by
  // others. Where there is no memory for them, cuDNN's first proposal that can be built is taken untimed, else our
  // first.
  bool tune(ConvOp op, ConvGeometry const& g, DType dtype, std::vector<OwnConv> const& own, bool cudnn, Entry& entry) {
    stream_.wait();
    std::vector<DeviceBuffer> buffers;
    std::vector<void*> pointers;
    bool timed = true;
    try {
      for (std::int64_t elements : {g.inputs(), g.weights(), g.outputs(), g.k}) {
        buffers.emplace_back(static_cast<std::size_t>(elements) * size_of(dtype));
        // Bytes 0x3c are about 1 in float16 and 0.01 in the others: power and clocks as with ordinary data.
        check(cudaMemsetAsync(buffers.back().data(), 0x3c, buffers.back().bytes(), stream_.handle()),
              "cudaMemsetAsync");
        pointers.push_back(buffers.back().data());
      }
      if (op != ConvOp::forward_bias) pointers.pop_back();
    } catch (Error const&) {
      timed = false;
      buffers.clear();
    }
    DeviceBuffer workspace;
    bool cudnn_serves = false;
    std::vector<EngineChoice> seen;
    double best = std::numeric_limits<double>::infinity();
    std::size_t const used = stream_.workspace_used();
    for (OwnConv const& kernel : own) {
      if (!timed) break;
      double const time = microseconds(
          [&] {
            try {
              kernel.run(stream_, g, pointers[0], pointers[1], pointers[2]);
            } catch (Error const&) {  // such as no memory for its workspace
              return false;
            }
            return true;
          },
          best);
      ++entry.info.candidates;
      if (!(cost(time, kernel.workspace) < best)) continue;
      best = cost(time, kernel.workspace);
      take(kernel, time, entry);
    }
    stream_.trim_workspace(used);  // the winner asks again, and another may have asked for more
    if (!cudnn) {
      if (!timed) take(own.front(), 0, entry);
      return entry.info.found;
    }
    for (cudnnBackendHeurMode_t mode : {CUDNN_HEUR_MODE_A, CUDNN_HEUR_MODE_B, CUDNN_HEUR_MODE_FALLBACK}) {
      if (mode == CUDNN_HEUR_MODE_FALLBACK && cudnn_serves) break;
      int timed_here = 0;
      for (CudnnDescriptor& config : propose(entry.graph.graph, mode)) {
        if (cudnn_serves && !timed) return true;
        if (timed_here >= most_candidates(mode)) break;
        if (!allowed(config, dtype)) {
          ++entry.info.excluded;
          continue;
        }
        EngineChoice choice = choice_of(config);
        if (std::find(seen.begin(), seen.end(), choice) != seen.end()) continue;
        seen.push_back(choice);
        CudnnPlan plan;
        if (!build_plan(handle_, {std::move(config), {}}, plan) || plan.workspace > stream_.workspace_cap()) continue;
        double time = 0;
        if (timed) {
          if (!provide(workspace, plan.workspace)) continue;
          time = microseconds(
              [&] { return execute(handle_, plan, uids(op), pointers, workspace.data()) == CUDNN_STATUS_SUCCESS; },
              best);
          ++entry.info.candidates;
          ++timed_here;
          cudnn_serves |= time < std::numeric_limits<double>::infinity();
          if (!(cost(time, plan.workspace) < best)) continue;
          best = cost(time, plan.workspace);
        }
        cudnn_serves = true;
        entry.info.found = true;
        entry.info.microseconds = time;
        entry.info.workspace = plan.workspace;
        entry.info.own = nullptr;
        entry.info.choice = std::move(choice);
        entry.plan = std::move(plan);
        entry.run_own = nullptr;
      }
    }
    if (!entry.info.found && !timed && !own.empty()) take(own.front(), 0, entry);
    return entry.info.found;
  }

  // Grows the throw-away workspace; false where there is no memory for it.
  static bool provide(DeviceBuffer& workspace, std::size_t bytes) {
    if (bytes <= workspace.bytes()) return true;
    workspace = DeviceBuffer();
    try {
      workspace = DeviceBuffer(bytes);
    } catch (Error const&) {
      return false;
    }
    return true;
  }

  // Time of one run inside a CUDA graph, which is how a training step runs it: without the host's part. Infinite where
  // run() returns false or cannot be captured, and one rough sample where it is hopeless against `best`.
  template <class Run>
  double microseconds(Run const& run, double best) {
    double const never = std::numeric_limits<double>::infinity();
    Event const begin, end;
    auto const timed = [&](auto&& work) {
      check(cudaEventRecord(begin.value, stream_.handle()), "cudaEventRecord");
      work();
      check(cudaEventRecord(end.value, stream_.handle()), "cudaEventRecord");
      check(cudaEventSynchronize(end.value), "cudaEventSynchronize after a tuned convolution");
      float milliseconds = 0;
      check(cudaEventElapsedTime(&milliseconds, begin.value, end.value), "cudaEventElapsedTime");
      return 1000.0 * static_cast<double>(milliseconds);
    };
    if (!run()) {
      cudaGetLastError();
      stream_.wait();
      return never;
    }
    double const rough = timed([&] { run(); });
    if (rough > 2 * best + 50) return rough;  // 50: what the host may add to one launch

    int const repeats = static_cast<int>(std::clamp(2000.0 / rough, 1.0, 10.0));
    Stream::KeptByGraphs const kept = stream_.kept_by_graphs();
    CapturedGraph captured;
    check(cudaStreamBeginCapture(stream_.handle(), cudaStreamCaptureModeThreadLocal), "cudaStreamBeginCapture");
    bool capturable = true;
    for (int i = 0; i < repeats && capturable; ++i) {
      capturable = run();
    }
    capturable &= cudaStreamEndCapture(stream_.handle(), &captured.graph) == cudaSuccess;
    stream_.set_kept_by_graphs(kept);  // this one is gone before a buffer can be outgrown
    if (!capturable || cudaGraphInstantiate(&captured.executable, captured.graph, 0) != cudaSuccess) {
      cudaGetLastError();
      return never;
    }
    auto const replay = [&] { check(cudaGraphLaunch(captured.executable, stream_.handle()), "cudaGraphLaunch"); };
    if (rough > 5000) return std::min(rough, timed(replay));  // beside which the host's part is nothing
    replay();
    std::array<double, 5> samples;
    for (double& sample : samples) sample = timed(replay) / repeats;
    std::sort(samples.begin(), samples.end());
    return samples[samples.size() / 2];
  }

  Stream& stream_;
  CudnnHandle& handle_;
  PlanCache cache_;
  std::map<Key, Entry> entries_;
};

}  // namespace detail

}  // namespace mixprec::inline MIXPREC_ABI::cuda
