// SPDX-License-Identifier: Apache-2.0
// The README's example: a network as a type, its plan in the compiler, and three epochs of training.
#include <cstdio>

#include <mixprec/cpu.hpp>
#include <mixprec/data/drawn.hpp>
#include <mixprec/data/loader.hpp>
#include <mixprec/mixprec.hpp>
#include <mixprec/models/small_resnet.hpp>
namespace mp = mixprec;

using Net = mp::models::SmallResNet<8, 1>;  // or your own struct, or mp::nn::Sequential<...>
using Policy = mp::Amp<mp::bfloat16>;       // matmul and convolution in bfloat16, losses in float, the rest follows
constexpr auto const& plan = mp::plan<Net, Policy, mp::Shape{128, 1, 28, 28}>;  // the compiler runs the model
static_assert(plan.materialized_casts() == 1);                                  // the input images, nothing else
static_assert(plan.peak_bytes() < mp::MiB(20));                                 // a whole training step

int main() {
  mp::Model<Net, Policy, mp::Cpu> net{/*seed=*/1};
  mp::Sgd opt{net, {.momentum = 0.9}};
  mp::Scaler<mp::NoScaler> scaler;  // bfloat16 has float's range; float16 takes Scaler<Dynamic>
  mp::Step step{
      net, opt, scaler, mp::Poly{.lr = 0.1, .total_steps = 189},
      [](auto& model, auto const& image, auto const& label) { return mp::cross_entropy(model(image), label); }};

  mp::ImageDataset const data = mp::draw_dataset(8000, /*seed=*/1);
  mp::Loader loader{data, {.batch_size = 128}};
  for (int epoch = 0; epoch < 3; ++epoch) {
    for (mp::HostBatch const& batch : loader.epoch(epoch)) {
      step(mp::HostTensor{batch.images.data(), mp::Shape{batch.count, 1, 28, 28}},
           mp::HostTensor{batch.labels.data(), mp::Shape{batch.count}});
    }
    std::printf("epoch %d: loss %.4f\n", epoch, step.loss());
  }
}
