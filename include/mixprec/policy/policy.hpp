// SPDX-License-Identifier: Apache-2.0
// Precision policies as types: plain fp32, PyTorch's autocast, our Amp, Apex's O0-O3, MMCV's; overrides and regions.
#pragma once

#include <concepts>  // std::convertible_to
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include <mixprec/dtype/dtype.hpp>
#include <mixprec/policy/op_class.hpp>

namespace mixprec::inline MIXPREC_ABI {

/// What a parameter is for; policies store norm parameters differently from weights.
enum class ParameterKind : std::uint8_t { weight, bias, norm_weight, norm_bias };

constexpr bool is_norm(ParameterKind kind) {
  return kind == ParameterKind::norm_weight || kind == ParameterKind::norm_bias;
}

/// What backward computes again rather than have it kept; each level holds those before it.
enum class RecomputeLevel : std::uint8_t { nothing, norms, expansions };

/// What a policy answers; a policy is a type that derives from PolicyBase and changes some of it.
///
/// | member | meaning |
/// |---|---|
/// | `low` | operands of Fp16Op |
/// | `floor` | no operand of any op is narrower than this (a forced region: float32) |
/// | `stores_operand` | an Fp32Op that says so (`stores_operand`) stores its operand's dtype, computed in float |
/// | `promotes_low` | PromoteOp runs low (MMCV) |
/// | `class_of<Op>` | the op's class, its own unless changed (Apex O2 and O3 cast the model as a whole: all follow) |
/// | `casts_input`, `casts_output` | the model casts its input to `low`, its output to float32 |
/// | `parameter(kind)` | dtype in which parameters are stored and updated |
/// | `workspace_cap` | bytes that a convolution on CUDA may take beside its tensors; plans list it apart |
/// | `recomputes` | what is not kept for backward but computed again (RecomputeNorms, RecomputeExpansions) |
template <class Low>
struct PolicyBase {
  static constexpr DType low = dtype_of_v<Low>;
  static constexpr DType floor = DType::float16;
  static constexpr bool stores_operand = false;
  static constexpr bool promotes_low = false;
  static constexpr bool casts_input = false;
  static constexpr bool casts_output = false;
  static constexpr RecomputeLevel recomputes = RecomputeLevel::nothing;
  static constexpr std::size_t workspace_cap = std::size_t{256} << 20;
  static constexpr DType parameter(ParameterKind) { return low == DType::float64 ? DType::float64 : DType::float32; }
  template <class Op>
  static constexpr OpClass class_of = Op::precision::op_class;
};

/// Everything in float32.
struct Fp32 : PolicyBase<float> {
  static constexpr char const* name = "fp32";
};

/// Everything in float64: the oracle that tests compare with. CPU only.
struct Fp64 : PolicyBase<double> {
  static constexpr char const* name = "fp64";
};

/// PyTorch's CUDA autocast, result dtypes exactly as there. Source: aten/src/ATen/autocast_mode.h (2.11).
template <class Low = float16>
struct PyTorchAmp : PolicyBase<Low> {
  static constexpr char const* name = std::is_same_v<Low, bfloat16> ? "pytorch-amp-bf16" : "pytorch-amp";
};

/// Ours: PyTorch's classes, except that an Fp32Op that declares `stores_operand` computes in float and stores its
/// operand's dtype, which saves the bytes and the cast back. That is for ops that autocast widens though their results
/// fit the operand's dtype: resize, and one day layer norm and group norm. Amp and PyTorchAmp give every other op the
/// same dtypes: autocast leaves pooling and batch norm in their operand's dtype, and softmax, losses and sums stay
/// float here too.
template <class Low = float16>
struct Amp : PolicyBase<Low> {
  static constexpr char const* name = std::is_same_v<Low, bfloat16> ? "amp-bf16" : "amp-fp16";
  static constexpr bool stores_operand = true;
};

/// Apex O0: float32 throughout.
struct ApexO0 : PolicyBase<float> {
  static constexpr char const* name = "apex-o0";
};
/// Apex O1: patched functions; for the ops here its lists agree with PyTorch's.
struct ApexO1 : PolicyBase<float16> {
  static constexpr char const* name = "apex-o1";
};
/// Apex O2: model and input in half, batch norm's parameters in float, float master weights; the output is float.
struct ApexO2 : PolicyBase<float16> {
  static constexpr char const* name = "apex-o2";
  static constexpr bool casts_input = true, casts_output = true;
  template <class Op>
  static constexpr OpClass class_of = OpClass::follow;
};
/// Apex O3: pure half, without master weights; the output is float.
struct ApexO3 : PolicyBase<float16> {
  static constexpr char const* name = "apex-o3";
  static constexpr bool casts_input = true, casts_output = true;
  template <class Op>
  static constexpr OpClass class_of = OpClass::follow;
  static constexpr DType parameter(ParameterKind) { return DType::float16; }
};

/// MMCV's auto_fp16: as PyTorch's autocast, but ops of the promote class run low unless a region forces float.
template <class Low = float16>
struct Mmcv : PolicyBase<Low> {
  static constexpr char const* name = std::is_same_v<Low, bfloat16> ? "mmcv-bf16" : "mmcv";
  static constexpr bool promotes_low = true;
};

/// One line of an override: `Op`, and every op that derives from it, runs as `Class`. The last line that fits counts.
template <class Op, class Class>
struct Run {
  static_assert(
      requires { Class::op_class; },
      "mixprec: Run: its second argument is no class of precision. Write the op first, then Fp16Op, Fp32Op, PromoteOp "
      "or FollowOp.");
};

/// `Policy` with some ops in another class: `With<Amp<float16>, Run<ops::Softmax, Fp16Op>>`.
template <class Policy, class... Runs>
struct With : Policy {
  template <class Op>
  static constexpr OpClass class_of = [] {
    OpClass result = Policy::template class_of<Op>;
    auto const look = [&]<class Named, class Class>(Run<Named, Class>) {
      if constexpr (std::is_base_of_v<Named, Op>) result = Class::op_class;
    };
    (look(Runs{}), ...);
    return result;
  }();
};

/// `Policy` with less memory: what a batch norm, and a relu joined to it, gives is not kept for backward but computed
/// again from the norm's operand, which is kept anyway, by each op whose gradient reads it. No bit of any result
/// changes; a training step makes one more pass over those values for each such op. Kept as without: results with a
/// residual joined, in a wider result (concat), and the fourth of four norms in a row.
template <class Policy>
struct RecomputeNorms : Policy {
  static constexpr RecomputeLevel recomputes =
      Policy::recomputes < RecomputeLevel::norms ? RecomputeLevel::norms : Policy::recomputes;
};

/// RecomputeNorms, and the same for 1x1 convolutions that give more channels than they read, such as the last one of
/// a ResNet's bottleneck: the largest results of a block, for few of its FLOPs. Where the weight is trained, so that
/// the operand is kept anyway or is computed again from what is. No bit of any result changes.
template <class Policy>
struct RecomputeExpansions : Policy {
  static constexpr RecomputeLevel recomputes = RecomputeLevel::expansions;
};

/// The region inside force_fp32: every operand is float at least. `outer` is what auto_fp16 returns to.
template <class Policy>
struct ForcedFp32 : Policy {
  using outer = Policy;
  static constexpr DType low = promote(Policy::low, DType::float32);
  static constexpr DType floor = DType::float32;
  static constexpr bool promotes_low = false;
};

namespace detail {
template <class Policy>
struct ForceRegion {
  using type = ForcedFp32<Policy>;
};
template <class Policy>
struct ForceRegion<ForcedFp32<Policy>> {
  using type = ForcedFp32<Policy>;
};
template <class Policy>
struct AutoRegion {
  using type = Policy;
};
template <class Policy>
struct AutoRegion<ForcedFp32<Policy>> : AutoRegion<Policy> {};
template <class Policy, class... Runs>
struct AutoRegion<With<Policy, Runs...>> {
  using type = With<typename AutoRegion<Policy>::type, Runs...>;
};
template <class Policy>
struct AutoRegion<RecomputeNorms<Policy>> {
  using type = RecomputeNorms<typename AutoRegion<Policy>::type>;
};
template <class Policy>
struct AutoRegion<RecomputeExpansions<Policy>> {
  using type = RecomputeExpansions<typename AutoRegion<Policy>::type>;
};
}  // namespace detail

/// The policy of a float region opened inside `Policy`, and of a mixed region reopened inside it; both idempotent.
template <class Policy>
using force_fp32_t = typename detail::ForceRegion<Policy>::type;
template <class Policy>
using auto_fp16_t = typename detail::AutoRegion<Policy>::type;

/// Requires: what PolicyBase documents, and a name. Models: Fp32, PyTorchAmp, Amp, ApexO0-O3, Mmcv, With,
/// RecomputeNorms, RecomputeExpansions, ForcedFp32.
template <class P>
concept precision_policy = requires {
  { P::low } -> std::convertible_to<DType>;
  { P::floor } -> std::convertible_to<DType>;
  { P::name } -> std::convertible_to<char const*>;
  { P::parameter(ParameterKind::weight) } -> std::convertible_to<DType>;
};

}  // namespace mixprec::inline MIXPREC_ABI
