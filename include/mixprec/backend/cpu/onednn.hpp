// SPDX-License-Identifier: Apache-2.0
// Convolution and matmul by oneDNN 2.x and 3.x, behind the signatures of this folder. Primitives are built once per
// geometry and kept in the Stream. Included by conv2d.hpp and matmul.hpp alone, where MIXPREC_USES_ONEDNN() says 1.
#pragma once

#include <array>
#include <map>
#include <string>
#include <type_traits>
#include <unordered_map>
#include <vector>

#include <mixprec/backend/cpu/capability.hpp>
#include <mixprec/backend/cpu/elementwise.hpp>
#include <mixprec/backend/cpu/onednn_descriptors.hpp>
#include <mixprec/backend/geometry.hpp>
#include <mixprec/error.hpp>

namespace mixprec::inline MIXPREC_ABI::cpu::onednn {

/// Element types that oneDNN takes; bfloat16 is widened to float where the CPU has no AMX.
template <class T>
inline constexpr bool has_dtype = std::is_same_v<T, float> || std::is_same_v<T, bfloat16>;
template <class T, class Bias, class Y>
inline constexpr bool has_matmul = has_dtype<T>&& has_dtype<Bias>&& has_dtype<Y>;

/// oneDNN refuses empty tensors. Its kernels for dilated depthwise windows (2.6) are several times slower than
/// depthwise.hpp, which is several times slower than oneDNN where there is no dilation.
constexpr bool takes(ConvGeometry const& g) {
  return g.inputs() > 0 && g.outputs() > 0 && g.weights() > 0 && !(g.depthwise_3x3() && g.dilation > 1);
}

using Tag = dnnl::memory::format_tag;
using Type = dnnl::memory::data_type;
using Dims = dnnl::memory::dims;

/// One tensor of a primitive, on its way from the user's memory: user -> (cast to float) -> (reorder) -> primitive, or
/// back for a result.
struct Operand {
  int argument;
  bool result;
  bool cast;  // the user's elements are bfloat16, the primitive's float
  Type type;  // the primitive's
  Dims dims;
  Tag tag;                                 // the user's layout
  dnnl::memory::desc wanted;               // the primitive's layout
  dnnl::memory plain, packed;              // in the primitive's type: the user's layout, the primitive's layout
  dnnl::primitive reorder;                 // between the two, where they differ
  std::size_t cast_at = 0, packed_at = 0;  // offsets in scratch memory
  std::int64_t elements = 0;
  bool repacked = false;
};

struct Operation {
  dnnl::primitive primitive;
  std::vector<Operand> operands;
  std::unordered_map<int, dnnl::memory> arguments;
  dnnl::memory scratchpad;
  std::size_t scratchpad_at = 0, scratch_bytes = 0;
};

using Key = std::array<std::int64_t, 20>;

struct Cache {
  dnnl::engine engine{dnnl::engine::kind::cpu, 0};
  dnnl::stream stream{engine};
  std::map<Key, Operation> operations;
};

inline Cache& cache_of(Stream& stream) {
  if (!stream.vendor_cache) stream.vendor_cache = std::make_shared<Cache>();
  return *static_cast<Cache*>(stream.vendor_cache.get());
}

/// The type in which a primitive on operands of T runs.
template <class T>
Type compute_type() {
  return std::is_same_v<T, bfloat16> && bfloat16_is_fast() ? Type::bf16 : Type::f32;
}

/// The primitive's element type for a tensor of T: T's own, or float where the primitive cannot hold bfloat16.
template <class T>
Type operand_type(Type compute) {
  return std::is_same_v<T, bfloat16> && compute == Type::bf16 ? Type::bf16 : Type::f32;
}

/// The tensor of T that primitive `pd` takes as `argument`.
template <class T>
Operand operand(dnnl::primitive_desc_base const& pd, int argument, bool result, Type compute, Dims dims, Tag tag) {
  Operand made{};
  made.argument = argument;
  made.result = result;
  made.type = operand_type<T>(compute);
  made.cast = std::is_same_v<T, bfloat16> && made.type == Type::f32;
  made.dims = std::move(dims);
  made.tag = tag;
  made.wanted = wanted_by(pd, argument);
  return made;
}

/// The primitive that `pd` describes, with memories, reorders and scratch offsets.
inline Operation prepared(Cache& cache, dnnl::primitive_desc const& pd, std::vector<Operand> operands) {
  auto const aligned = [](std::size_t bytes) { return (bytes + 63) / 64 * 64; };
  Operation operation;
  operation.primitive = dnnl::primitive(pd);
  for (Operand& o : operands) {
    dnnl::memory::desc const plain(o.dims, o.type, o.tag);
    o.elements = 1;
    for (auto const extent : o.dims) o.elements *= extent;
    o.plain = dnnl::memory(plain, cache.engine, nullptr);
    if (o.cast) {
      o.cast_at = operation.scratch_bytes;
      operation.scratch_bytes += aligned(plain.get_size());
    }
    o.repacked = plain != o.wanted;
    if (o.repacked) {
      o.packed = dnnl::memory(o.wanted, cache.engine, nullptr);
      o.packed_at = operation.scratch_bytes;
      operation.scratch_bytes += aligned(o.wanted.get_size());
      o.reorder = o.result ? dnnl::reorder(o.packed, o.plain) : dnnl::reorder(o.plain, o.packed);
    }
    operation.arguments.emplace(o.argument, o.repacked ? o.packed : o.plain);
  }
  operation.scratchpad = dnnl::memory(pd.scratchpad_desc(), cache.engine, nullptr);
  operation.scratchpad_at = operation.scratch_bytes;
  operation.scratch_bytes += aligned(pd.scratchpad_desc().get_size());
  operation.arguments.emplace(DNNL_ARG_SCRATCHPAD, operation.scratchpad);
  operation.operands = std::move(operands);
  return operation;
}

/// Runs an operation on the user's pointers, which come in the order of its operands.
inline void run(Stream& stream, Cache& cache, Operation& operation, std::initializer_list<void const*> pointers) {
  auto* const scratch = static_cast<char*>(stream.scratch(operation.scratch_bytes));
  auto const* pointer = pointers.begin();
  for (Operand& o : operation.operands) {
    void const* const user = *pointer++;
    auto* const widened = reinterpret_cast<float*>(scratch + o.cast_at);
    o.plain.set_data_handle(o.cast ? widened : const_cast<void*>(user));
    if (o.repacked) o.packed.set_data_handle(scratch + o.packed_at);
    if (o.result) continue;
    if (o.cast) cpu::cast(stream, static_cast<bfloat16 const*>(user), widened, o.elements);
    if (o.repacked) o.reorder.execute(cache.stream, {{DNNL_ARG_FROM, o.plain}, {DNNL_ARG_TO, o.packed}});
  }
  operation.scratchpad.set_data_handle(scratch + operation.scratchpad_at);
  operation.primitive.execute(cache.stream, operation.arguments);
  pointer = pointers.begin();
  for (Operand& o : operation.operands) {
    void* const user = const_cast<void*>(*pointer++);
    if (!o.result) continue;
    if (o.repacked) o.reorder.execute(cache.stream, {{DNNL_ARG_FROM, o.packed}, {DNNL_ARG_TO, o.plain}});
    if (o.cast) {
      cpu::cast(stream, reinterpret_cast<float const*>(scratch + o.cast_at), static_cast<bfloat16*>(user), o.elements);
    }
  }
  cache.stream.wait();
}

/// Finds or builds the operation of `key` and runs it; oneDNN's exceptions become Errors that name the call.
template <class Build, class Describe>
void run_cached(Stream& stream, Key const& key, Build const& build, Describe const& describe,
                std::initializer_list<void const*> pointers) {
  try {
    Cache& cache = cache_of(stream);
    auto found = cache.operations.find(key);
    if (found == cache.operations.end()) found = cache.operations.emplace(key, build(cache)).first;
    run(stream, cache, found->second, pointers);
  } catch (dnnl::error const& error) {
    throw Error("cpu: oneDNN " + describe() + " failed: " + error.what() + " (status " + std::to_string(error.status) +
                "). Build without MIXPREC_WITH_ONEDNN to use the reference kernels.");
  }
}

enum Call : std::int64_t { forward = 1, backward_input, backward_weight, product };

template <class T>
Key key_of(Stream& stream, Call call, ConvGeometry const& g, Type compute, bool bias) {
  return {call,
          stream.threads(),
          static_cast<std::int64_t>(dtype_of_v<T>),
          static_cast<std::int64_t>(compute),
          bias,
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
}

inline std::string text_of(char const* call, ConvGeometry const& g) {
  auto const joined = [](std::initializer_list<std::int64_t> extents) {
    std::string text;
    for (auto const extent : extents) text += (text.empty() ? "(" : ", ") + std::to_string(extent);
    return text + ")";
  };
  return std::string(call) + " of x " + joined({g.n, g.h, g.w, g.c}) + ", weight " +
         joined({g.k, g.r, g.s, g.c / g.groups}) + ", y " + joined({g.n, g.p, g.q, g.k}) + ", stride " +
         std::to_string(g.stride) + ", padding " + std::to_string(g.padding) + ", dilation " +
         std::to_string(g.dilation) + ", groups " + std::to_string(g.groups);
}

/// The tensors of a convolution as oneDNN sees them. Activations stay NHWC; oneDNN chooses the weights' layout.
struct ConvTensors {
  Dims x, w, y, strides, dilations, padding;
  Tag weight_tag;
  dnnl::memory::desc x_desc, w_desc, y_desc;

  ConvTensors(ConvGeometry const& g, Type compute)
      : x{g.n, g.c, g.h, g.w},
        w{g.k, g.c, g.r, g.s},
        y{g.n, g.k, g.p, g.q},
        strides{g.stride, g.stride},
        dilations{g.dilation - 1, g.dilation - 1},
        padding{g.padding, g.padding},
        weight_tag(Tag::ohwi) {
    if (g.groups > 1) {
      w = {g.groups, g.k / g.groups, g.c / g.groups, g.r, g.s};
      weight_tag = Tag::gohwi;
    }
    x_desc = {x, compute, Tag::nhwc};
    w_desc = {w, compute, Tag::any};
    y_desc = {y, compute, Tag::nhwc};
  }

  /// Backward primitives want it, too, without a bias.
  dnnl::convolution_forward::primitive_desc forward_descriptor(dnnl::engine const& engine,
                                                               dnnl::memory::desc const& bias = {}) const {
    return descriptor<dnnl::convolution_forward>(engine, dnnl::prop_kind::forward_training,
                                                 dnnl::algorithm::convolution_direct, x_desc, w_desc, bias, y_desc,
                                                 strides, dilations, padding, padding);
  }
};

/// Which convolution, and what oneDNN calls its tensors; `result` is one of them.
struct ConvCall {
  Call call;
  char const* name;
  int x, w, y, result;
};

/// One of the three convolutions. `describe(tensors, engine, bias)` makes the primitive's descriptor where the geometry
/// is new; `bias` may be null. One of x, w, y is written, as `call` says.
template <class T, class Describe>
void convolution(Stream& stream, ConvCall const& call, ConvGeometry const& g, T const* x, T const* w, T const* y,
                 T const* bias, Describe const& describe) {
  Type const compute = compute_type<T>();
  auto const build = [&](Cache& cache) {
    ConvTensors const t(g, compute);
    auto const bias_desc = bias == nullptr ? dnnl::memory::desc() : dnnl::memory::desc(Dims{g.k}, compute, Tag::a);
    auto const pd = describe(t, cache.engine, bias_desc);
    std::vector<Operand> operands{
        operand<T>(pd, call.x, call.x == call.result, compute, t.x, Tag::nhwc),
        operand<T>(pd, call.w, call.w == call.result, compute, t.w, t.weight_tag),
        operand<T>(pd, call.y, call.y == call.result, compute, t.y, Tag::nhwc),
    };
    if (bias != nullptr) operands.push_back(operand<T>(pd, DNNL_ARG_BIAS, false, compute, {g.k}, Tag::a));
    return prepared(cache, pd, std::move(operands));
  };
  Key const key = key_of<T>(stream, call.call, g, compute, bias != nullptr);
  run_cached(stream, key, build, [&] { return text_of(call.name, g); }, {x, w, y, bias});
}

template <class T>
void conv2d_forward(Stream& stream, ConvGeometry const& g, T const* x, T const* w, T const* bias, T* y) {
  ConvCall const call{forward, "conv2d_forward", DNNL_ARG_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_DST, DNNL_ARG_DST};
  convolution<T>(stream, call, g, x, w, y, bias,
                 [](ConvTensors const& t, dnnl::engine const& engine, dnnl::memory::desc const& bias_desc) {
                   return t.forward_descriptor(engine, bias_desc);
                 });
}

template <class T>
void conv2d_backward_input(Stream& stream, ConvGeometry const& g, T const* dy, T const* w, T* dx) {
  ConvCall const call{backward_input,   "conv2d_backward_input", DNNL_ARG_DIFF_SRC,
                      DNNL_ARG_WEIGHTS, DNNL_ARG_DIFF_DST,       DNNL_ARG_DIFF_SRC};
  convolution<T>(stream, call, g, dx, w, dy, nullptr,
                 [](ConvTensors const& t, dnnl::engine const& engine, dnnl::memory::desc const&) {
                   return backward_descriptor<dnnl::convolution_backward_data>(
                       engine, t.forward_descriptor(engine), dnnl::algorithm::convolution_direct, t.x_desc, t.w_desc,
                       t.y_desc, t.strides, t.dilations, t.padding, t.padding);
                 });
}

template <class T>
void conv2d_backward_weight(Stream& stream, ConvGeometry const& g, T const* x, T const* dy, T* dw) {
  ConvCall const call{backward_weight,       "conv2d_backward_weight", DNNL_ARG_SRC,
                      DNNL_ARG_DIFF_WEIGHTS, DNNL_ARG_DIFF_DST,        DNNL_ARG_DIFF_WEIGHTS};
  convolution<T>(stream, call, g, x, dw, dy, nullptr,
                 [](ConvTensors const& t, dnnl::engine const& engine, dnnl::memory::desc const&) {
                   return backward_descriptor<dnnl::convolution_backward_weights>(
                       engine, t.forward_descriptor(engine), dnnl::algorithm::convolution_direct, t.x_desc, t.w_desc,
                       t.y_desc, t.strides, t.dilations, t.padding, t.padding);
                 });
}

/// The product; `bias` may be null.
template <class T, class Bias, class Y>
void matmul(Stream& stream, bool trans_a, bool trans_b, std::int64_t m, std::int64_t n, std::int64_t k, T const* a,
            T const* b, Bias const* bias, Y* y) {
  Type const compute = compute_type<T>();
  auto const build = [&](Cache& cache) {
    Tag const a_tag = trans_a ? Tag::ba : Tag::ab, b_tag = trans_b ? Tag::ba : Tag::ab;
    dnnl::memory::desc const a_desc({m, k}, compute, a_tag), b_desc({k, n}, compute, b_tag);
    dnnl::memory::desc const y_desc({m, n}, operand_type<Y>(compute), Tag::ab);
    dnnl::memory::desc const bias_desc({1, n}, operand_type<Bias>(compute), Tag::ab);
    auto const pd = bias == nullptr ? descriptor<dnnl::matmul>(cache.engine, a_desc, b_desc, y_desc)
                                    : descriptor<dnnl::matmul>(cache.engine, a_desc, b_desc, bias_desc, y_desc);
    std::vector<Operand> operands{operand<T>(pd, DNNL_ARG_SRC, false, compute, {m, k}, a_tag),
                                  operand<T>(pd, DNNL_ARG_WEIGHTS, false, compute, {k, n}, b_tag),
                                  operand<Y>(pd, DNNL_ARG_DST, true, compute, {m, n}, Tag::ab)};
    if (bias != nullptr) operands.push_back(operand<Bias>(pd, DNNL_ARG_BIAS, false, compute, {1, n}, Tag::ab));
    return prepared(cache, pd, std::move(operands));
  };
  auto const describe = [&] {
    return "matmul of m " + std::to_string(m) + ", n " + std::to_string(n) + ", k " + std::to_string(k);
  };
  Key const key{product,
                stream.threads(),
                static_cast<std::int64_t>(dtype_of_v<T>),
                static_cast<std::int64_t>(compute),
                bias != nullptr,
                m,
                n,
                k,
                trans_a,
                trans_b,
                static_cast<std::int64_t>(dtype_of_v<Bias>),
                static_cast<std::int64_t>(dtype_of_v<Y>)};
  run_cached(stream, key, build, describe, {a, b, y, bias});
}

}  // namespace mixprec::inline MIXPREC_ABI::cpu::onednn
