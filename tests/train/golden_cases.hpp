// SPDX-License-Identifier: Apache-2.0
// Networks that PyTorch trained, declared here and loaded from its files: known accuracy and known outputs.
#include <cstdlib>
#include <fstream>

#include <mixprec/data/idx.hpp>
#include <mixprec/train/weights.hpp>

#include "ops/harness.hpp"
#include "skip.hpp"

namespace mixprec::test {
namespace {

struct MnistNet {
  nn::Conv2d<1, 8, 3> conv1;
  nn::Conv2d<8, 16, 3> conv2;
  nn::Conv2d<16, 24, 3> conv3;
  nn::BatchNorm2d<24> norm1;
  nn::Linear<24 * 22 * 22, 32> fc1;
  nn::Linear<32, 10> fc2;
  nn::BatchNorm1d<10> norm2;
  MIXPREC_MODULE(conv1, conv2, conv3, norm1, fc1, fc2, norm2)

  constexpr auto operator()(auto const& x) const {
    auto const features = norm1(relu(conv3(relu(conv2(relu(conv1(x)))))));
    return log_softmax(norm2(fc2(relu(fc1(flatten(features))))));
  }
};

struct MultiLayer {
  nn::Conv2d<3, 4, 3, nn::Conv2dOptions{.padding = 1}> conv1;
  nn::BatchNorm2d<4> norm1;
  nn::Linear<4 * 8 * 8, 16> fc1;
  MIXPREC_MODULE(conv1, norm1, fc1)

  constexpr auto operator()(auto const& x) const { return fc1(flatten(relu(norm1(conv1(x))))); }
};

/// Empty where the data is absent, with the reason printed.
std::string golden_folder() {
  char const* const data = std::getenv("MIXPREC_TEST_DATA");
  if (data == nullptr && skipped("MIXPREC_TEST_DATA is not set")) return "";
  return std::string(data) + "/golden_weights_ops/";
}

struct Scores {
  double accuracy = 0, loss = 0;
  Values first;  // log-probabilities of the first image
};

template <class Network, class S>
Scores scores_of(Network& network, S& session, ImageDataset const& data) {
  Scores scores;
  std::int64_t const batch = 250;
  for (std::int64_t begin = 0; begin < data.size(); begin += batch) {
    std::int64_t const count = std::min(batch, data.size() - begin);
    Values pixels;
    for (std::int64_t at = begin * 28 * 28; at < (begin + count) * 28 * 28; ++at)
      pixels.push_back((data.images[static_cast<std::size_t>(at)] / 255.0 - 0.1307) / 0.3081);
    auto const x = tensor_of<float>(session, Shape{count, std::int64_t{1}, std::int64_t{28}, std::int64_t{28}}, pixels);
    Values const output = network(x);
    if (begin == 0) scores.first.assign(output.begin(), output.begin() + 10);
    for (std::int64_t image = 0; image < count; ++image) {
      auto const row = output.begin() + image * 10;
      int const label = data.labels[static_cast<std::size_t>(begin + image)];
      scores.accuracy += std::max_element(row, row + 10) - row == label ? 1 : 0;
      scores.loss -= row[label];
    }
  }
  scores.accuracy /= static_cast<double>(data.size());
  scores.loss /= static_cast<double>(data.size());
  return scores;
}

// Of the first image, from the reference computation in numpy.
Values const first_log_probabilities{-9.60845,  -10.24487, -10.01341, -10.22852, -10.01767,
                                     -10.89188, -10.50624, -0.00037,  -10.34675, -9.65732};

ImageDataset first_images(ImageDataset data, std::size_t count) {
  data.labels.resize(count);
  data.images.resize(count * data.image_bytes());
  return data;
}

/// The network from the file, as an inference object.
template <class Policy>
Scores inferred_scores(SafetensorsFile const& weights, ImageDataset const& data) {
  Model<MnistNet, Policy, TestBackend> model;
  load_weights(model, weights);
  auto inference = model.eval();
  auto const run = [&](auto const& x) { return values_of(inference.session(), inference(x)); };
  Scores const scores = scores_of(run, inference.session(), data);
  CHECK(inference.folded_norms() == std::vector<std::string>{"norm2"});
  return scores;
}

/// The same with nothing folded.
template <class Policy>
Scores evaluated_scores(SafetensorsFile const& weights, ImageDataset const& data) {
  Model<MnistNet, Policy, TestBackend> model;
  load_weights(model, weights);
  NoGrad const no_grad(model);
  model.set_training(false);
  auto const run = [&](auto const& x) { return values_of(model.session(), model(x).tensor()); };
  return scores_of(run, model.session(), data);
}

TEST_CASE("the MNIST network that PyTorch trained reaches its accuracy, loss and first outputs, folded or not") {
  std::string const folder = golden_folder();
  if (folder.empty()) return;
  SafetensorsFile const weights(folder + "mnist_cnn/mnist.safetensors");
  ImageDataset const all =
      read_idx_dataset(folder + "mnist_cnn/t10k-images-idx3-ubyte.gz", folder + "mnist_cnn/t10k-labels-idx1-ubyte.gz",
                       {"0", "1", "2", "3", "4", "5", "6", "7", "8", "9"});
  REQUIRE(all.size() == 10000);
  Scores const published{0.9917, 0.028088, first_log_probabilities};
  auto const check = [&]<class Policy>(ImageDataset const& data, Scores const& wanted, double accuracy_tolerance,
                                       double loss_tolerance, double output_tolerance) {
    INFO("policy " << std::string(Policy::name));
    Scores const scores = inferred_scores<Policy>(weights, data);
    CHECK(std::abs(scores.accuracy - wanted.accuracy) <= accuracy_tolerance);
    CHECK(std::abs(scores.loss - wanted.loss) <= loss_tolerance);
    CHECK_EQ(difference("folded", scores.first, wanted.first, output_tolerance / largest(wanted.first)), "");
    Values const unfolded = evaluated_scores<Policy>(weights, first_images(data, 250)).first;
    CHECK_EQ(difference("unfolded", unfolded, wanted.first, output_tolerance / largest(wanted.first)), "");
  };
  // The listed values have six digits; sums of 11616 terms differ by less in float. An accuracy in float differs by no
  // image. Logits near 10 are rounded to eps / 2 of half and of bfloat16 in each of six layers.
  check.template operator()<Fp32>(all, published, 1e-9, 2e-6, 5e-5);
  // On the CPU, where half has reference kernels alone, a tenth of the images, held to what float gives for them.
  constexpr bool some = std::is_same_v<TestBackend, Cpu>;
  ImageDataset const data = some ? first_images(all, 1000) : all;
  Scores wanted = some ? inferred_scores<Fp32>(weights, data) : published;
  wanted.first = first_log_probabilities;
  double const images = some ? 1 : 5;  // that may fall into another class
  double const accuracy = (images + 0.5) / static_cast<double>(data.size());
  check.template operator()<Amp<float16>>(data, wanted, accuracy, 2e-4, 10 * 6 * 0x1p-11);
  check.template operator()<Amp<bfloat16>>(data, wanted, accuracy, 2e-3, 10 * 6 * 0x1p-8);
}

TEST_CASE("PyTorch's small network with convolution, batch norm and linear layer gives PyTorch's outputs") {
  std::string const folder = golden_folder();
  if (folder.empty()) return;
  SafetensorsFile const weights(folder + "safetensors_multi_layer/multi_layer.safetensors");
  std::ifstream text(folder + "safetensors_multi_layer/expected_output.txt");
  Values expected(16);
  for (double& value : expected) REQUIRE(static_cast<bool>(text >> value));
  auto const one = [&]<class Policy>() {
    INFO("policy " << std::string(Policy::name));
    Model<MultiLayer, Policy, TestBackend> model;
    load_weights(model, weights);
    auto inference = model.eval();
    auto& session = inference.session();
    auto const x = tensor_of<float>(session, Shape{1, 3, 8, 8}, Values(3 * 8 * 8, 1.0));
    session.start_recording();
    Values const output = values_of(session, inference(x));
    CHECK(inference.folded_norms() == std::vector<std::string>{"norm1"});
    CHECK_EQ(difference("output", output, expected, tolerance_of(session.stop_recording(), {.terms = 256})), "");
  };
  one.template operator()<Fp32>();
  one.template operator()<Amp<float16>>();
  one.template operator()<Amp<bfloat16>>();
}

}  // namespace
}  // namespace mixprec::test
