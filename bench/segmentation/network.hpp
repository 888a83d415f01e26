// SPDX-License-Identifier: Apache-2.0
// The network and the extents of one object file of a segmentation benchmark. CMake compiles the same source for each
// head and backbone, because a model is a type and costs compile time.
#pragma once

#include <mixprec/models/deeplabv3plus.hpp>
#include <mixprec/policy/policy.hpp>

#include "../program.hpp"

// Given by the build: what is measured, and at which extents the compiler makes its plan.
#if !defined(MIXPREC_BENCH_HEAD) || !defined(MIXPREC_BENCH_MODEL) || !defined(MIXPREC_BENCH_DEPTH) ||    \
    !defined(MIXPREC_BENCH_POLICY) || !defined(MIXPREC_BENCH_BATCH) || !defined(MIXPREC_BENCH_HEIGHT) || \
    !defined(MIXPREC_BENCH_WIDTH) || !defined(MIXPREC_BENCH_CLASSES)
#error "Compile this file as bench/segmentation/CMakeLists.txt does: with MIXPREC_BENCH_HEAD and the names beside it."
#endif

// Unnamed: these names mean something else in every object file.
namespace bench {
namespace {

struct Policies {
  using fp32 = mixprec::Fp32;
  using amp_fp16 = mixprec::Amp<mixprec::float16>;
  using amp_bf16 = mixprec::Amp<mixprec::bfloat16>;
  struct amp_fp16_recompute : mixprec::RecomputeNorms<amp_fp16> {
    static constexpr char const* name = "amp-fp16-recompute";
  };
  struct amp_fp16_expansions : mixprec::RecomputeExpansions<amp_fp16> {
    static constexpr char const* name = "amp-fp16-expansions";
  };
};
using Policy = Policies::MIXPREC_BENCH_POLICY;

/// mmsegmentation's ResNetV1c-D8 with one of its four heads; widths as there.
constexpr mixprec::models::ResNetOptions dilated8{.deep_stem = true, .output_stride = 8};
using Backbone = mixprec::models::ResNetBackbone<MIXPREC_BENCH_DEPTH, dilated8>;
using Segmenter = mixprec::models::MIXPREC_BENCH_HEAD<Backbone, MIXPREC_BENCH_CLASSES>;

constexpr char const* model_name = MIXPREC_BENCH_MODEL;
constexpr std::int64_t depth = MIXPREC_BENCH_DEPTH, classes = MIXPREC_BENCH_CLASSES;
constexpr mixprec::Shape<4> nominal{{MIXPREC_BENCH_BATCH, 3, MIXPREC_BENCH_HEIGHT, MIXPREC_BENCH_WIDTH}};

/// The extents of a batch of images that the program was asked for.
mixprec::Shape<4> extents_of(Arguments& arguments, std::int64_t batch) {
  return {{batch, 3, arguments.number("height", nominal[2], 1), arguments.number("width", nominal[3], 1)}};
}

/// What the peer also prints, to tell whether it runs the same network.
void describe_network(JsonLine& line, mixprec::Shape<4> images) {
  line.add("model", model_name)
      .add("depth", depth)
      .add("height", images[2])
      .add("width", images[3])
      .add("classes", classes);
}

}  // namespace
}  // namespace bench
