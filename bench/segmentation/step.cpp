// SPDX-License-Identifier: Apache-2.0
// The training step of one segmentation network under one policy, for the program of ../segmentation_step.cpp; the
// report has the keys of peers/segmentation.py. segmentation/step.cu is the same for CUDA.
#include "../trainer.hpp"
#include "network.hpp"
#include "rows.hpp"
#include "subjects.hpp"

namespace {

namespace mp = mixprec;

constexpr auto const& plan =
    mp::plan<bench::Segmenter, bench::Policy, bench::nominal, mp::PlanOptions{}, mp::models::SegmentationLoss>;

/// Images of noise, and labels of which one in sixteen does not count.
struct SegmentationTask {
  using Net = bench::Segmenter;
  using Loss = mp::models::SegmentationLoss;
  static constexpr double learning_rate = 0.01;

  mp::Shape<4> extents;
  bool compare_rows;

  mp::Shape<4> images() const { return extents; }
  mp::Shape<3> labels() const { return {{extents[0], extents[2], extents[3]}}; }

  void draw(std::mt19937& generator, std::vector<float>& pixels, std::vector<std::int32_t>& labels) const {
    std::normal_distribution<float> pixel;
    std::uniform_int_distribution<std::int32_t> label(0, bench::classes - 1), counts(0, 15);
    for (float& value : pixels) value = pixel(generator);
    for (std::int32_t& value : labels) value = counts(generator) == 0 ? Loss::ignore_index : label(generator);
  }

  template <class Policy>
  std::int64_t planned_bytes() const {
    return extents == bench::nominal ? static_cast<std::int64_t>(plan.peak_bytes()) : 0;
  }

  template <class Model>
  void describe(bench::JsonLine& line, Model& model, auto const& images, auto const& labels) const {
    bench::describe_network(line, extents);
    if (!compare_rows) return;
    // Copies, because a tensor counts as kept once in its life.
    auto const copy = [&]<class Tensor>(Tensor const& from) {
      Tensor const to = model.template tensor<typename Tensor::dtype>(from.shape());
      Model::backend::copy(model.stream(), to.data(), from.data(), from.bytes());
      return to;
    };
    auto const image = copy(images);
    auto const label = copy(labels);
    bench::RowComparison const rows =
        bench::compare_rows(plan, model, [&] { auto const loss = Loss{}(model, image, label); });
    line.add("rows", rows.ran).add("plan_rows", rows.first.empty() ? "equal" : rows.first);
  }
};

void run(bench::Arguments& arguments) {
  using bench::Backend, bench::Policy;
  using Scaling = std::conditional_t<Policy::low == mp::DType::float16, mp::Dynamic, mp::NoScaler>;
  bench::TrainerOptions const options(
      arguments,
      {.policy = Policy::name, .batch = bench::nominal[0], .least_batch = 2, .steps = Backend::captures ? 20 : 5});
  SegmentationTask const task{bench::extents_of(arguments, options.batch), arguments.number("rows", 0) != 0};
  arguments.refuse_others();
  if (task.compare_rows && task.extents != bench::nominal) {
    throw std::runtime_error("--rows compares with the plan that the compiler made for images of " +
                             to_string(bench::nominal) + ". Leave out --batch, --height and --width.");
  }
  bench::train<Policy, Backend>(task, options, mp::Scaler<Scaling>{});
}

[[maybe_unused]] bool const added = bench::add_subject({bench::model_name, bench::depth, bench::Policy::name, run});

}  // namespace
