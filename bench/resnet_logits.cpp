// SPDX-License-Identifier: Apache-2.0
// Holds ResNet-50's logits to PyTorch's: takes the weights, images and logits that peers/torchvision_resnet.py writes,
// runs eval() under a policy, and prints a JSON line with the errors, a tolerance, and PyTorch's own errors beside
// them. g++ compiles this file for the CPU; resnet_logits_cuda.cu includes it for nvcc.
#include <mixprec/mixprec.hpp>
#ifndef __CUDACC__
#include <mixprec/cpu.hpp>
#endif
#include <mixprec/models/resnet.hpp>
#include <mixprec/train/weights.hpp>

#include <cmath>
#include <exception>
#include <iostream>

#include "program.hpp"

namespace {

namespace mp = mixprec;
using Values = std::vector<double>;
#ifdef __CUDACC__
using Backend = mp::Cuda;
#else
using Backend = mp::Cpu;
#endif

constexpr int depth = 50, classes = 1000;
using Net = mp::models::ResNet<depth, classes>;

Values values_in(mp::SafetensorsFile const& file, std::string const& name) {
  mp::SafetensorsTensor const& tensor = file.find(name);
  return mp::detail::values_of(tensor.bytes, tensor.dtype);
}

/// The images, in the memory order of the backends (N,H,W,C).
std::vector<float> channels_last(Values const& images, mp::Shape<4> shape) {
  std::vector<float> result;
  result.reserve(images.size());
  std::int64_t const pixels = shape[2] * shape[3];
  for (std::int64_t n = 0; n < shape[0]; ++n)
    for (std::int64_t pixel = 0; pixel < pixels; ++pixel)
      for (std::int64_t c = 0; c < shape[1]; ++c)
        result.push_back(static_cast<float>(images[static_cast<std::size_t>((n * shape[1] + c) * pixels + pixel)]));
  return result;
}

struct Difference {
  double largest = 0, rms = 0;
};
/// Of all logits together. Errors: Error where their numbers differ.
Difference difference(Values const& got, Values const& expected) {
  if (got.size() != expected.size()) {
    throw mp::Error(std::to_string(got.size()) + " logits were computed, and the file holds " +
                    std::to_string(expected.size()) + ". Write the files anew.");
  }
  Difference result;
  for (std::size_t at = 0; at < got.size(); ++at) {
    double const error = std::abs(got[at] - expected[at]);
    if (!(error <= result.largest)) result.largest = error;  // NaN is the largest of all
    result.rms += error * error / static_cast<double>(got.size());
  }
  result.rms = std::sqrt(result.rms);
  return result;
}

/// What the largest error of a logit may be in parts of the largest logit: every layer rounds its weights, its result
/// and, where a block ends, the sum, by at most u = eps/2 each, and the roundings of a sum of K products in float,
/// which are independent of each other, come to sqrt(K) of float's u. Batch norm keeps each layer's share of the
/// values' size, so the shares of all layers add up where, at worst, they have one direction.
double tolerance(mp::SafetensorsFile const& weights, mp::DType low) {
  double const u = mp::traits_of(low).eps / 2, u_float = mp::traits_of(mp::DType::float32).eps / 2;
  double sum = u;  // of the images
  for (std::string const& name : weights.names()) {
    auto const& shape = weights.find(name).shape;
    if (shape.size() < 2) continue;
    double terms = 1;
    for (std::size_t axis = 1; axis < shape.size(); ++axis) terms *= static_cast<double>(shape[axis]);
    sum += 3 * u + std::sqrt(terms) * u_float;
  }
  return sum;
}

/// Logits of eval() under `Policy`, in double.
template <class Policy>
Values logits_of(mp::SafetensorsFile const& weights, mp::SafetensorsFile const& data) {
  mp::Model<Net, Policy, Backend> model;
  mp::load_weights(model, weights);
  auto inference = model.eval();
  auto const& extents = data.find("images").shape;
  if (extents.size() != 4) throw mp::Error("images have " + std::to_string(extents.size()) + " axes. Give (N,3,H,W).");
  mp::Shape const shape{extents[0], extents[1], extents[2], extents[3]};
  std::vector<float> const images = channels_last(values_in(data, "images"), shape);
  auto const x = inference.template tensor<float>(shape);
  mp::copy_from_host(inference.stream(), x, images.data(), images.size());
  auto const y = inference(x);
  auto const host = mp::to_host(inference.stream(), y);
  Values result;
  for (auto const value : host) result.push_back(mp::convert<double>(value));
  return result;
}

/// False where an error exceeds its tolerance.
template <class Policy>
bool check(std::string const& name, std::string const& peer, mp::SafetensorsFile const& weights,
           mp::SafetensorsFile const& data) {
  Values const reference = values_in(data, "logits.float64");
  Difference const size = difference(reference, Values(reference.size(), 0));
  Difference const ours = difference(logits_of<Policy>(weights, data), reference);
  double const allowed = tolerance(weights, Policy::low);
  bool const ok = ours.largest <= allowed * size.largest;
  bench::JsonLine line;
  line.add("device", Backend::name)
      .add("policy", name)
      .add("max_abs_error", ours.largest, 9)
      .add("max_rel_error", ours.largest / size.largest, 9)
      .add("tolerance", allowed, 9)
      .add("ok", ok ? "yes" : "no")
      .add("rms_error", ours.rms, 9);
  if (data.contains("logits." + peer)) {
    Difference const theirs = difference(values_in(data, "logits." + peer), reference);
    line.add("pytorch", peer)
        .add("pytorch_max_abs_error", theirs.largest, 9)
        .add("pytorch_max_rel_error", theirs.largest / size.largest, 9)
        .add("pytorch_rms_error", theirs.rms, 9);
  }
  line.add("max_abs_logit", size.largest, 6).add("rms_logit", size.rms, 6);
  std::cout << line.text() << std::endl;
  return ok;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    bench::Arguments arguments(argc, argv);
    std::string const weights_path = arguments.text("weights", ""), data_path = arguments.text("data", "");
    std::string const policy = arguments.text("policy", "all");
    arguments.refuse_others();
    if (weights_path.empty() || data_path.empty()) {
      throw std::runtime_error("--weights or --data is missing. Give the files of bench/peers/torchvision_resnet.py.");
    }
    mp::SafetensorsFile const weights(weights_path), data(data_path);
    bool ok = true, known = false;
    auto const wanted = [&](char const* name) {
      bool const yes = policy == "all" || policy == name;
      known |= yes;
      return yes;
    };
    if (wanted("fp32")) ok &= check<mp::Fp32>("fp32", "float32", weights, data);
    if (wanted("amp-fp16")) ok &= check<mp::Amp<mp::float16>>("amp-fp16", "autocast.float16", weights, data);
    if (wanted("amp-bf16")) ok &= check<mp::Amp<mp::bfloat16>>("amp-bf16", "autocast.bfloat16", weights, data);
    if (!known) throw std::runtime_error("--policy is " + policy + ". Use fp32, amp-fp16, amp-bf16 or all.");
    return ok ? 0 : 1;
  } catch (std::exception const& error) {
    std::cerr << "resnet_logits: " << error.what() << "\n";
    return 2;
  }
}
