// SPDX-License-Identifier: Apache-2.0
// Holds a large network to a memory bound before it exists: DeepLabV3+ on ResNet-101-D8 trains in mixed precision on
// two crops of 512x1024 in less than 6 GiB, and in float it does not.
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

static_assert(mixed.peak_bytes() < mp::GiB(6));  // a whole training step with SGD and momentum
static_assert(full.peak_bytes() > mp::GiB(6));   // the same bound stops float
static_assert(mixed.materialized_casts() == 1);  // the images, nothing else
static_assert(full.materialized_casts() == 0);
static_assert(mixed.memory.kept < full.memory.kept * 52 / 100);

int main() {
  auto const print = [](char const* name, std::int64_t in_full, std::int64_t in_mixed) {
    auto const mebibytes = [](std::int64_t bytes) { return static_cast<double>(bytes) / (1 << 20); };
    std::printf("%-18s %12.1f %12.1f\n", name, mebibytes(in_full), mebibytes(in_mixed));
  };
  std::printf("%-18s %12s %12s\n", "MiB", full.policy, mixed.policy);
  print("parameters", full.memory.parameters, mixed.memory.parameters);
  print("working copies", full.memory.working_copies, mixed.memory.working_copies);
  print("gradients", full.memory.gradients, mixed.memory.gradients);
  print("optimizer state", full.memory.optimizer_state, mixed.memory.optimizer_state);
  print("buffers", full.memory.buffers, mixed.memory.buffers);
  print("inputs", full.memory.inputs, mixed.memory.inputs);
  print("kept activations", full.memory.kept, mixed.memory.kept);
  print("largest transient", full.memory.transient, mixed.memory.transient);
  print("peak", static_cast<std::int64_t>(full.peak_bytes()), static_cast<std::int64_t>(mixed.peak_bytes()));
  std::printf("%-18s %12d %12d\n", "ops", full.rows(), mixed.rows());
}
