// SPDX-License-Identifier: Apache-2.0
// What a plan says about small models whose casts, bytes and operations can be counted by hand.
#include <doctest/doctest.h>

#include <mixprec/mixprec.hpp>
#include <mixprec/models/small_resnet.hpp>

using namespace mixprec;

namespace {

using nn::Conv2dOptions;
constexpr std::int64_t block = arena_granularity;  // what a small tensor takes

// Two linear layers on two rows: no tensor is larger than a block.
using Tiny = nn::Sequential<nn::Linear<4, 8>, nn::ReLU, nn::Linear<8, 3>>;
constexpr auto const& tiny = plan<Tiny, Fp32, Shape{2, 4}>;
static_assert(tiny.rows() == 4 && tiny.materialized_casts() == 0 && tiny.folded_casts() == 0);
// linear keeps its input, relu its result, which is the next linear's input; the loss the logits, a float a row, a
// total.
static_assert(tiny.row[0].kept_bytes == 2 * 4 * 4);
static_assert(tiny.row[1].kept_bytes == 2 * 8 * 4);
static_assert(tiny.row[2].kept_bytes == 0);
static_assert(tiny.row[3].kept_bytes == 2 * 3 * 4 + 2 * 4 + 4);
static_assert(tiny.kept_bytes() == 32 + 64 + 36);
static_assert(tiny.row[0].flops == 2.0 * 2 * 4 * 8 && tiny.row[1].flops == 2 * 8 &&
              tiny.row[2].flops == 2.0 * 2 * 8 * 3);
static_assert(tiny.flops() == 128 + 16 + 96 + 5 * 6);
static_assert(tiny.memory.parameters == block && tiny.memory.gradients == block &&
              tiny.memory.optimizer_state == block);
static_assert(tiny.memory.working_copies == 0 && tiny.memory.inputs == 2 * block);  // rows and labels
static_assert(tiny.memory.buffers == block);                                        // the generator's key
static_assert(tiny.memory.kept == 5 * block);       // relu's result, logits, row sums, total, and the loss itself
static_assert(tiny.memory.transient == 2 * block);  // the gradients of the loss and of the logits
static_assert(tiny.peak_bytes() == (4 + 2 + 5 + 2) * block);

// The same under Amp: the weights' working copies and their gradients are half, the input is cast by a kernel.
constexpr auto const& tiny_half = plan<Tiny, Amp<float16>, Shape{2, 4}>;
static_assert(tiny_half.materialized_casts() == 1 && tiny_half.row[0].materialized_cast);
static_assert(tiny_half.folded_casts() == 2 * 2 + 1);  // weight and bias of two layers, and the loss reads half logits
static_assert(tiny_half.kept_bytes() == 2 * 4 * 2 + 2 * 8 * 2 + 2 * 3 * 2 + 2 * 4 + 4);
static_assert(tiny_half.memory.working_copies == block);
static_assert(tiny_half.uses(DType::float16) && !tiny.uses(DType::float16) && !tiny_half.uses(DType::bfloat16));

// Parameters and what belongs to them, with tensors larger than a block: 40 * 30 and 40 elements, padded to 16.
using Wide = nn::Sequential<nn::Linear<30, 40>>;
constexpr std::int64_t wide_elements = 40 * 30 + 48;
constexpr std::int64_t rounded(std::int64_t bytes) { return (bytes + block - 1) / block * block; }
constexpr auto const& wide = plan<Wide, Amp<float16>, Shape{2, 30}>;
static_assert(wide.memory.parameters == rounded(4 * wide_elements) &&
              wide.memory.working_copies == rounded(2 * wide_elements));
static_assert(wide.memory.gradients == rounded(2 * wide_elements) &&
              wide.memory.optimizer_state == rounded(4 * wide_elements));
constexpr auto const& wide_adamw = plan<Wide, Amp<float16>, Shape{2, 30},
                                        PlanOptions{.optimizer_states = 2, .accumulate_gradients = true, .ema = true}>;
static_assert(wide_adamw.memory.gradients == rounded(4 * wide_elements));
static_assert(wide_adamw.memory.optimizer_state == 3 * rounded(4 * wide_elements));
constexpr auto const& wide_half = plan<Wide, ApexO3, Shape{2, 30}>;
static_assert(wide_half.memory.parameters == rounded(2 * wide_elements) && wide_half.memory.working_copies == 0);
struct Capped : Fp32 {
  static constexpr std::size_t workspace_cap = MiB(7);
};
constexpr auto const& wide_capped = plan<Wide, Capped, Shape{2, 30}>;
static_assert(wide_capped.memory.workspace_cap == static_cast<std::int64_t>(MiB(7)));
static_assert(wide_capped.peak_bytes() == plan<Wide, Fp32, Shape{2, 30}>.peak_bytes());

// A batch norm that took the relu behind it keeps its input (here the batch) and two floats a channel, and not its
// result, whose sign follows from them.
using Fused = nn::Sequential<nn::BatchNorm2d<8>, nn::ReLU, nn::GlobalAvgPool2d, nn::Linear<8, 4>>;
constexpr auto const& fused = plan<Fused, Fp32, Shape{4, 8, 8, 8}>;
constexpr std::int64_t activation = 4 * 8 * 8 * 8 * 4;
static_assert(fused.row[0].kept_bytes == activation + 2 * 8 * 4 &&
              fused.row[0].op == std::string_view("batch_norm+relu"));
// Mean, invstd, the pooled rows that linear keeps, logits, row sums, total, and the loss.
static_assert(fused.memory.inputs == activation + block && fused.memory.kept == 7 * block);

// Nothing is kept and no gradient stored for what is frozen.
using HalfFrozen = nn::Sequential<nn::Frozen<nn::Linear<30, 40>>, nn::Linear<40, 3>>;
constexpr auto const& frozen = plan<HalfFrozen, Fp32, Shape{2, 30}>;
static_assert(frozen.row[0].kept_bytes == 0 && frozen.row[1].kept_bytes == 2 * 40 * 4);
static_assert(frozen.memory.gradients == rounded(4 * (40 * 3 + 8 + 16)));

// Convolutions: 2 N K P Q (C / groups) R S operations.
using Convolutions = nn::Sequential<nn::Conv2d<4, 6, 3, Conv2dOptions{.stride = 2, .padding = 1, .groups = 2}>,
                                    nn::Conv2d<6, 8, 3, Conv2dOptions{.dilation = 2, .bias = false}>, nn::MaxPool2d<2>,
                                    nn::Flatten, nn::Linear<8 * 2 * 3, 5>>;
constexpr auto const& convolutions = plan<Convolutions, Fp32, Shape{3, 4, 17, 20}>;
static_assert(convolutions.row[0].extents[2] == 9 && convolutions.row[0].extents[3] == 10);
static_assert(convolutions.row[0].flops == 2.0 * 3 * 6 * 9 * 10 * (4 / 2) * 3 * 3);
static_assert(convolutions.row[1].extents[2] == 5 && convolutions.row[1].extents[3] == 6);
static_assert(convolutions.row[1].flops == 2.0 * 3 * 8 * 5 * 6 * 6 * 3 * 3);
static_assert(convolutions.row[2].kept_bytes == 3 * 8 * 2 * 3);  // a byte for each window
static_assert(convolutions.row[3].rank == 2 && convolutions.row[3].extents[1] == 48 &&
              convolutions.row[3].kept_bytes == 0);

// A whole network: Amp launches one cast, the input's; O2 and O3 the input's and the output's.
using Net = models::SmallResNet<8, 1>;
constexpr Shape image{4, 1, 28, 28};
static_assert(plan<Net, Fp32, image>.materialized_casts() == 0);
static_assert(plan<Net, Amp<float16>, image>.materialized_casts() == 1);
static_assert(plan<Net, Amp<bfloat16>, image>.materialized_casts() == 1);
static_assert(plan<Net, Mmcv<float16>, image>.materialized_casts() == 1);
static_assert(plan<Net, ApexO2, image>.materialized_casts() == 2 && plan<Net, ApexO3, image>.materialized_casts() == 2);
static_assert(plan<Net, Amp<float16>, image>.kept_bytes() < plan<Net, Fp32, image>.kept_bytes());
static_assert(plan<Net, Amp<float16>, image>.peak_bytes() < plan<Net, Fp32, image>.peak_bytes());
static_assert(plan<Net, Amp<float16>, image>.flops() == plan<Net, Fp32, image>.flops());

/// The row of a module's own op, or of a function, by its path.
template <int Rows, int Modules>
PlanRow const* find(Plan<Rows, Modules> const& plan, std::string_view path, std::string_view op) {
  for (PlanRow const& row : plan.row)
    if (plan.path_of(row).view() == path && row.op == op) return &row;
  return nullptr;
}

struct Shifted {  // functions inside a user's module belong to that module
  nn::Linear<4, 4> first, second;
  MIXPREC_MODULE(first, second)
  constexpr auto operator()(auto const& x) const { return relu(second(relu(first(x))) + x); }
};

template <class Policy>
void check_network() {
  auto const& plan = mixprec::plan<Net, Policy, image>;
  CAPTURE(plan.policy);
  double flops = 0;
  std::int64_t kept = 0;
  int folded = 0, launched = 0;
  for (PlanRow const& row : plan.row) {
    flops += row.flops, kept += row.kept_bytes, folded += row.folded_casts, launched += row.materialized_cast ? 1 : 0;
    CHECK(row.precision.accumulator == accumulator_of(row.precision.arithmetic));
  }
  CHECK(plan.flops() == flops);
  CHECK(plan.kept_bytes() == kept);
  CHECK(plan.folded_casts() == folded);
  CHECK(plan.materialized_casts() == launched);
  // What the rows keep is alive when backward begins: in whole blocks, beside the loss. A row may keep the batch
  // itself.
  CHECK(plan.memory.kept + plan.memory.inputs >= kept);
  CHECK(std::string_view(plan.policy) == Policy::name);

  PlanRow const* const conv = find(plan, "layer2.0.conv1", "conv2d");
  REQUIRE(conv != nullptr);
  CHECK(conv->flops == 2.0 * 4 * 16 * 14 * 14 * 8 * 3 * 3);
  CHECK(conv->precision.operand == Policy::low);
  CHECK(conv->precision.accumulator == DType::float32);
  CHECK(find(plan, "layer2.0.downsample.0", "conv2d") != nullptr);
  CHECK(find(plan, "fc", "linear") != nullptr);
  CHECK(find(plan, "layer9", "linear") == nullptr);
}

}  // namespace

TEST_CASE("totals of a plan are the sums of its rows, and rows are found by path") {
  check_network<Fp32>();
  check_network<Amp<float16>>();
  check_network<Amp<bfloat16>>();
  check_network<PyTorchAmp<float16>>();
  check_network<ApexO1>();
  check_network<Mmcv<float16>>();
}

TEST_CASE("rows of functions are named after the module that calls them") {
  auto const& plan = mixprec::plan<nn::Sequential<Shifted, nn::Named<"head", nn::Linear<4, 2>>>, Fp32, Shape{2, 4}>;
  CHECK(find(plan, "0.first", "linear") != nullptr);
  CHECK(find(plan, "0.relu", "relu") != nullptr);
  CHECK(find(plan, "0.add", "add") != nullptr);
  CHECK(find(plan, "head", "linear") != nullptr);
  CHECK(find(plan, "cross_entropy", "cross_entropy") != nullptr);
}

TEST_CASE("rows compare by what they say, op names as text") {
  PlanRow const row = tiny.row[0];
  PlanRow other = row;
  std::string const copied = row.op;
  other.op = copied.c_str();
  CHECK(same_row(row, other));
  other.op = "linear2";
  CHECK_FALSE(same_row(row, other));
  other = row, other.extents[1] += 1;
  CHECK_FALSE(same_row(row, other));
  other = row, other.kept_bytes += 1;
  CHECK_FALSE(same_row(row, other));
  other = row, other.precision.result = DType::float16;
  CHECK_FALSE(same_row(row, other));
  other = row, other.folded_casts += 1;
  CHECK_FALSE(same_row(row, other));
}
