// SPDX-License-Identifier: Apache-2.0
// A thin layer over cuBLASLt: status check, the handle, and row-major products with a cache of chosen algorithms.
#pragma once

#include <algorithm>  // std::min
#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>

#include <cublasLt.h>

#include <mixprec/backend/cuda/stream.hpp>
#include <mixprec/dtype/dtype.hpp>
#include <mixprec/error.hpp>

namespace mixprec::inline MIXPREC_ABI::cuda {

/// Throws where `status` is not success; `call` names the function with its values.
inline void check(cublasStatus_t status, char const* call) {
  if (status == CUBLAS_STATUS_SUCCESS) [[likely]]
    return;
  char const* remedy = "Check sizes and alignment (16 bytes), and that an earlier kernel did not fail";
  if (status == CUBLAS_STATUS_ALLOC_FAILED) remedy = "Use a smaller batch, or free device memory";
  if (status == CUBLAS_STATUS_NOT_INITIALIZED) remedy = "Check that driver and CUDA toolkit belong together";
  throw Error("cuda: " + std::string(call) + " failed: " + cublasLtGetStatusName(status) + " (" +
              std::to_string(static_cast<int>(status)) + "): " + cublasLtGetStatusString(status) + ". " + remedy + ".");
}

/// Workspace offered to cuBLASLt, 32 MiB: what NVIDIA recommends for Hopper.
inline constexpr std::size_t matmul_workspace_cap = std::size_t{32} << 20;

/// What becomes of the values that a product's result holds before.
enum class Store : bool { overwrite, add };

namespace detail {

/// How much of it a Stream's cap leaves.
inline std::size_t matmul_workspace(Stream const& stream) {
  return std::min(matmul_workspace_cap, stream.workspace_cap());
}

constexpr cudaDataType_t cuda_data_type(DType dtype) {
  switch (dtype) {
    case DType::float16: return CUDA_R_16F;
    case DType::bfloat16: return CUDA_R_16BF;
    default: return CUDA_R_32F;
  }
}

/// The largest power of two up to 256 that divides an address, which is what cuBLASLt asks about pointers.
inline std::uint32_t alignment_of(void const* pointer) {
  auto const address = reinterpret_cast<std::uintptr_t>(pointer) | 256u;
  return static_cast<std::uint32_t>(address & (~address + 1));
}

/// y(m,n) = op(a)(m,k) * op(b)(k,n) + bias(n), added to y where `sum` says so; all row-major; bias has y's dtype or is
/// nullptr.
struct MatrixProduct {
  bool trans_a, trans_b;
  std::int64_t m, n, k;
  DType operand, result;
  void const *a, *b, *bias;
  void* y;
  Store sum = Store::overwrite;
};

/// Handle and algorithm cache of one Stream (Stream::attached).
class CublasLt {
 public:
  explicit CublasLt(Stream& stream) : stream_(stream) { check(cublasLtCreate(&handle_), "cublasLtCreate"); }
  CublasLt(CublasLt const&) = delete;
  CublasLt& operator=(CublasLt const&) = delete;
  ~CublasLt() { cublasLtDestroy(handle_); }

  /// Runs the product, or returns false where cuBLASLt has no algorithm for it.
  /// Precision: float accumulator, also between the parts of a split sum; one rounding to the result.
  bool run(MatrixProduct const& product) {
    bool const tf32 = product.operand == DType::float32 && stream_.allow_tf32();
    // cuBLASLt is column-major: a row-major matrix is its transpose there, and y^T = op(b)^T * op(a)^T.
    Descriptor<cublasLtMatmulDesc_t, cublasLtMatmulDescDestroy> operation;
    check(cublasLtMatmulDescCreate(&operation.value, tf32 ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F,
                                   CUDA_R_32F),
          "cublasLtMatmulDescCreate");
    set(operation.value, CUBLASLT_MATMUL_DESC_TRANSA, product.trans_b ? CUBLAS_OP_T : CUBLAS_OP_N);
    set(operation.value, CUBLASLT_MATMUL_DESC_TRANSB, product.trans_a ? CUBLAS_OP_T : CUBLAS_OP_N);
    if (product.bias != nullptr) {
      set(operation.value, CUBLASLT_MATMUL_DESC_EPILOGUE, CUBLASLT_EPILOGUE_BIAS);
      set(operation.value, CUBLASLT_MATMUL_DESC_BIAS_POINTER, product.bias);
      set(operation.value, CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, cuda_data_type(product.result));
    }
    Layout const b =
        layout(product.operand, product.trans_b ? product.k : product.n, product.trans_b ? product.n : product.k);
    Layout const a =
        layout(product.operand, product.trans_a ? product.m : product.k, product.trans_a ? product.k : product.m);
    Layout const y = layout(product.result, product.n, product.m);

    Choice const& choice = choose(product, tf32, operation.value, b.value, a.value, y.value);
    if (!choice.found) return false;
    float const one = 1.0f, kept = product.sum == Store::add ? 1.0f : 0.0f;
    cublasStatus_t const status = cublasLtMatmul(
        handle_, operation.value, &one, product.b, b.value, product.a, a.value, &kept, product.y, y.value, product.y,
        y.value, &choice.algorithm, stream_.workspace(choice.workspace), choice.workspace, stream_.handle());
    if (status != CUBLAS_STATUS_SUCCESS) check(status, ("cublasLtMatmul of " + text(product)).c_str());
    return true;
  }

 private:
  template <class T, cublasStatus_t (*destroy)(T)>
  struct Descriptor {
    T value = nullptr;
    Descriptor() = default;
    Descriptor(Descriptor&& other) noexcept : value(other.value) { other.value = nullptr; }
    ~Descriptor() {
      if (value != nullptr) destroy(value);
    }
  };
  using Layout = Descriptor<cublasLtMatrixLayout_t, cublasLtMatrixLayoutDestroy>;
  using Preference = Descriptor<cublasLtMatmulPreference_t, cublasLtMatmulPreferenceDestroy>;
  struct Choice {
    cublasLtMatmulAlgo_t algorithm;
    std::size_t workspace = 0;
    bool found = false;
  };

  template <class T>
  static void set(cublasLtMatmulDesc_t operation, cublasLtMatmulDescAttributes_t name, T value) {
    check(cublasLtMatmulDescSetAttribute(operation, name, &value, sizeof(value)), "cublasLtMatmulDescSetAttribute");
  }
  template <class T>
  static void set(cublasLtMatmulPreference_t preference, cublasLtMatmulPreferenceAttributes_t name, T value) {
    check(cublasLtMatmulPreferenceSetAttribute(preference, name, &value, sizeof(value)),
          "cublasLtMatmulPreferenceSetAttribute");
  }
  static Layout layout(DType dtype, std::int64_t rows, std::int64_t columns) {
    Layout result;
    check(cublasLtMatrixLayoutCreate(&result.value, cuda_data_type(dtype), static_cast<std::uint64_t>(rows),
                                     static_cast<std::uint64_t>(columns), rows),
          "cublasLtMatrixLayoutCreate");
    return result;
  }
  static std::string text(MatrixProduct const& p) {
    return "y(" + std::to_string(p.m) + "," + std::to_string(p.n) + ") " + name_of(p.result) +
           ", k = " + std::to_string(p.k) + " " + name_of(p.operand) + (p.trans_a ? ", a transposed" : "") +
           (p.trans_b ? ", b transposed" : "") + (p.bias != nullptr ? ", bias" : "") +
           (p.sum == Store::add ? ", added" : "");
  }

  // The heuristic's first answer. Sums split over blocks may be merged in float only, never in the result's dtype.
  Choice const& choose(MatrixProduct const& p, bool tf32, cublasLtMatmulDesc_t operation, cublasLtMatrixLayout_t b,
                       cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t y) {
    std::size_t const cap = matmul_workspace(stream_);
    std::uint32_t const align_a = alignment_of(p.a), align_b = alignment_of(p.b), align_y = alignment_of(p.y);
    std::uint32_t const align_bias = p.bias == nullptr ? 0 : alignment_of(p.bias);
    Key const key{p.m,
                  p.n,
                  p.k,
                  p.trans_a + 2 * p.trans_b + 4 * tf32,
                  static_cast<int>(p.operand) + 256 * static_cast<int>(p.result),
                  align_a + 512 * align_b,
                  align_y + 512 * align_bias,
                  static_cast<std::int64_t>(cap)};
    auto const at = choices_.find(key);
    if (at != choices_.end()) return at->second;

    Preference preference;
    check(cublasLtMatmulPreferenceCreate(&preference.value), "cublasLtMatmulPreferenceCreate");
    set(preference.value, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, cap);
    set(preference.value, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, align_b);
    set(preference.value, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, align_a);
    set(preference.value, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, align_y);
    set(preference.value, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, align_y);
    set(preference.value, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
        static_cast<std::uint32_t>(CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE));
    cublasLtMatmulHeuristicResult_t result{};
    int results = 0;
    cublasStatus_t const status =
        cublasLtMatmulAlgoGetHeuristic(handle_, operation, b, a, y, y, preference.value, 1, &result, &results);
    if (status != CUBLAS_STATUS_NOT_SUPPORTED && status != CUBLAS_STATUS_SUCCESS) {
      check(status, ("cublasLtMatmulAlgoGetHeuristic of " + text(p)).c_str());
    }
    Choice choice{};
    choice.found = status == CUBLAS_STATUS_SUCCESS && results > 0 && result.state == CUBLAS_STATUS_SUCCESS;
    if (choice.found) {
      choice.algorithm = result.algo;
      choice.workspace = result.workspaceSize;
    }
    return choices_.emplace(key, choice).first->second;
  }

  using Key = std::array<std::int64_t, 8>;
  Stream& stream_;
  cublasLtHandle_t handle_ = nullptr;
  std::map<Key, Choice> choices_;
};

}  // namespace detail

}  // namespace mixprec::inline MIXPREC_ABI::cuda
