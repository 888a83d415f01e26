// SPDX-License-Identifier: Apache-2.0
// Networks of bottlenecks with strides turned into dilation: a narrow ResNet-50 with output stride 16 and multi-grid,
// as a classifier and below FCN.
#include <cmath>

#include <mixprec/models/fcn.hpp>

#include "segmentation_run.hpp"

namespace mixprec::test {
namespace {

constexpr models::ResNetOptions narrow{.width = 8, .output_stride = 16, .multi_grid = {1, 2, 4}};
constexpr models::ResNetOptions narrow_v1c{.width = 8, .deep_stem = true, .output_stride = 16, .multi_grid = {1, 2, 4}};
using NarrowClassifier = models::ResNet<50, 4, narrow>;
using NarrowFcn = models::Fcn<models::ResNetBackbone<50, narrow_v1c>, segmentation_classes, 16>;
constexpr Shape narrow_input{4, 3, 64, 48};

/// The extents of the one row at `path`, or none.
template <class Planned>
std::vector<std::int64_t> extents_at(Planned const& planned, std::string_view path) {
  std::vector<std::int64_t> extents;
  for (int at = 0; at < planned.rows(); ++at) {
    PlanRow const& row = planned.row[at];
    if (planned.path_of(row).view() == path) extents.insert(extents.end(), row.extents, row.extents + row.rank);
  }
  return extents;
}

TEST_CASE("a ResNet-50 with output stride 16 has a sixteenth of the image's extents from its third stage on") {
  constexpr auto const& planned =
      plan<NarrowFcn, Amp<bfloat16>, segmentation_input, PlanOptions{}, models::SegmentationLoss>;
  static_assert(segmentation_input == Shape{2, 3, 64, 48});
  using Extents = std::vector<std::int64_t>;
  CHECK(extents_at(planned, "backbone.stem.6") == Extents{2, 8, 32, 24});
  CHECK(extents_at(planned, "backbone.layer1.2.conv3") == Extents{2, 32, 16, 12});
  CHECK(extents_at(planned, "backbone.layer2.3.conv3") == Extents{2, 64, 8, 6});
  CHECK(extents_at(planned, "backbone.layer3.5.conv3") == Extents{2, 128, 4, 3});
  CHECK(extents_at(planned, "backbone.layer4.0.conv2") == Extents{2, 64, 4, 3});
  CHECK(extents_at(planned, "backbone.layer4.1.conv2") == Extents{2, 64, 4, 3});
  CHECK(extents_at(planned, "backbone.layer4.2.conv2") == Extents{2, 64, 4, 3});
  CHECK(extents_at(planned, "backbone.layer4.2.conv3") == Extents{2, 256, 4, 3});
  CHECK(extents_at(planned, "decode_head.conv_seg") == Extents{2, segmentation_classes, 4, 3});
  CHECK(extents_at(planned, "auxiliary_head.conv_seg") == Extents{2, segmentation_classes, 4, 3});
}

TEST_CASE("FCN on bottlenecks has the plan's rows, and some steps lower its loss") {
  check_segmentation_rows<NarrowFcn, Amp<bfloat16>, Cpu>();
  std::vector<double> const losses = segmentation_losses<NarrowFcn, Amp<bfloat16>, Cpu>(SegmentationBatch{}, 8);
  CHECK_MESSAGE(losses.back() < 0.85 * losses.front(), losses.front() << " became " << losses.back());
}

TEST_CASE("a classifier of bottlenecks has the plan's rows") {
  check_rows<NarrowClassifier, Fp64, Cpu, narrow_input>(4);
}

TEST_CASE("in a classifier of bottlenecks the gradient is the loss's slope along a direction of all parameters") {
  Model<NarrowClassifier, Fp64, Cpu> model{1};
  auto& session = model.session();
  Batch<double, 4> const batch(narrow_input, 4);
  auto const image = model.tensor<double>(narrow_input);
  auto const label = model.tensor<std::int32_t>(Shape{narrow_input[0]});
  copy_from_host(model.stream(), image, batch.image.data(), batch.image.size());
  copy_from_host(model.stream(), label, batch.label.data(), batch.label.size());
  session.begin_step();
  session.backward(Loss{}(model, image, label));

  std::mt19937 generator(3);
  NamedValues start, direction;
  double slope = 0;
  for (ParameterEntry const& entry : session.parameters().entries()) {
    Values const gradient = model.gradient(entry.name);
    Values along = draw(generator, gradient.size(), Draw::smooth, 1 / std::sqrt(static_cast<double>(gradient.size())));
    for (std::size_t at = 0; at < along.size(); ++at) slope += along[at] * gradient[at];
    start.emplace_back(entry.name, model.values(entry.name));
    direction.emplace_back(entry.name, std::move(along));
  }
  auto const loss_at = [&](double distance) {
    for (std::size_t id = 0; id < direction.size(); ++id) {
      Values values = start[id].second;
      for (std::size_t at = 0; at < values.size(); ++at) values[at] += distance * direction[id].second[at];
      model.assign(direction[id].first, values);
    }
    session.begin_step();
    return to_host(model.stream(), Loss{}(model, image, label).tensor()).front();
  };
  // So short that no relu changes sides. What is tolerated is less than any one parameter's part of the slope.
  double const h = 5e-8, measured = (loss_at(h) - loss_at(-h)) / (2 * h);
  CHECK_MESSAGE(std::abs(measured - slope) < 2e-6 * std::abs(slope), "measured " << measured << ", promised " << slope);
}

}  // namespace
}  // namespace mixprec::test
