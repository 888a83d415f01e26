// SPDX-License-Identifier: Apache-2.0
// Holds a large network to a memory bound before it exists: DeepLabV3+ on ResNet-101-D8 trains in mixed precision on
// two crops of 512x1024 in less than 6 GiB, and in float it does not; where backward computes the cheap results again,
// 4 GiB are enough.
#include <cstdio>

#include <mixprec/mixprec.hpp>
#include <mixprec/models/deeplabv3plus.hpp>
namespace mp = mixprec;

using Backbone = mp::models::ResNetBackbone<101, mp::models::ResNetOptions{.deep_stem = true, .output_stride = 8}>;
using Net = mp::models::DeepLabV3Plus<Backbone, 19>;  // Cityscapes' classes
template <class Policy>
constexpr auto const& plan =
    mp::plan<Net, Policy, mp::Shape{2, 3, 512, 1024}, mp::PlanOptions{}, mp::models::SegmentationLoss>;
constexpr auto const& mixed = plan<mp::Amp<mp::float16>>;
constexpr auto const& full = plan<mp::Fp32>;
constexpr auto const& again = plan<mp::RecomputeExpansions<mp::Amp<mp::float16>>>;

static_assert(mixed.peak_bytes() < mp::GiB(6));  // a whole training step with SGD and momentum
static_assert(full.peak_bytes() > mp::GiB(6));   // the same bound stops float
static_assert(again.peak_bytes() < mp::GiB(4));  // no bit of the training differs from `mixed`
static_assert(mixed.materialized_casts() == 1);  // the images, nothing else
static_assert(full.materialized_casts() == 0);
static_assert(mixed.memory.kept < full.memory.kept * 52 / 100);

int main() {
  auto const print = [](char const* name, auto part) {
    auto const mebibytes = [](auto bytes) { return static_cast<double>(bytes) / (1 << 20); };
    std::printf("%-18s %12.1f %12.1f %12.1f\n", name, mebibytes(part(full)), mebibytes(part(mixed)),
                mebibytes(part(again)));
  };
  std::printf("%-18s %12s %12s %12s\n", "MiB", full.policy, mixed.policy, "again");
  print("parameters", [](auto const& of) { return of.memory.parameters; });
  print("working copies", [](auto const& of) { return of.memory.working_copies; });
  print("gradients", [](auto const& of) { return of.memory.gradients; });
  print("optimizer state", [](auto const& of) { return of.memory.optimizer_state; });
  print("buffers", [](auto const& of) { return of.memory.buffers; });
  print("inputs", [](auto const& of) { return of.memory.inputs; });
  print("kept activations", [](auto const& of) { return of.memory.kept; });
  print("largest transient", [](auto const& of) { return of.memory.transient; });
  print("peak", [](auto const& of) { return of.peak_bytes(); });
  std::printf("%-18s %12d %12d %12d\n", "ops", full.rows(), mixed.rows(), again.rows());
}
