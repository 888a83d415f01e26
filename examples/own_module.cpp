// SPDX-License-Identifier: Apache-2.0
// The README's second example: a module of one's own, weights in a file, and inference.
#include <cstdio>
#include <vector>

#include <mixprec/cpu.hpp>
#include <mixprec/mixprec.hpp>
#include <mixprec/train/weights.hpp>
namespace mp = mixprec;

template <int C>
struct Block {
  mp::nn::Conv2d<C, C, 3, mp::nn::Conv2dOptions{.padding = 1, .bias = false}> conv;
  mp::nn::BatchNorm2d<C> bn;
  MIXPREC_MODULE(conv, bn)  // every member with parameters; state_dict has these names
  constexpr auto operator()(auto const& x) const { return relu(bn(conv(x)) + x); }  // constexpr: a plan runs it too
};
using Net = mp::nn::Sequential<mp::nn::Conv2d<1, 16, 3>, Block<16>, mp::nn::Dropout<0.1>, mp::nn::GlobalAvgPool2d,
                               mp::nn::Linear<16, 10>>;

int main() {
  mp::Model<Net, mp::Fp32, mp::Cpu> net{/*seed=*/1};  // train it as above; then
  mp::save_weights(net, "net.safetensors");           // "1.conv.weight", ...: safetensors.torch.load_file reads it

  mp::Model<Net, mp::Amp<mp::bfloat16>, mp::Cpu> other{/*seed=*/2};
  mp::load_weights(other, mp::SafetensorsFile("net.safetensors"));
  auto inference = other.eval();  // a copy: bfloat16 weights, batch norms folded in, no gradients
  auto const images = inference.tensor<float>(mp::Shape{4, 1, 28, 28});
  mp::copy_from_host(inference.stream(), images, std::vector<float>(4 * 28 * 28, 0.5f).data(), 4 * 28 * 28);
  auto const logits = mp::to_host(inference.stream(), inference(images));  // 4x10 bfloat16
  std::printf("the first image's first logit: %.3f\n", mp::convert<double>(logits[0]));
}
