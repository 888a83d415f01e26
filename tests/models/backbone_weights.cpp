// SPDX-License-Identifier: Apache-2.0
// A backbone's weights from the classifier that it was pretrained in, and between segmentation models.
#include <algorithm>

#include <mixprec/models/fcn.hpp>
#include <mixprec/train/weights.hpp>

#include "io/temporary_directory.hpp"
#include "ops/harness.hpp"

namespace mixprec::test {
namespace {

constexpr models::ResNetOptions classifier_options{.width = 8}, backbone_options{.width = 8, .output_stride = 8};
constexpr models::ResNetOptions deep_stem{.width = 8, .deep_stem = true, .output_stride = 8};
using Classifier = Model<models::ResNet<18, 10, classifier_options>, Fp32, Cpu>;
using Segmenter = Model<models::Fcn<models::ResNetBackbone<18, backbone_options>, 5, 16>, Fp32, Cpu>;

template <class M>
void randomize(M& model, unsigned seed) {
  std::mt19937 generator(seed);
  for (std::string const& name : model.names())
    model.assign(name, draw(generator, model.values(name).size(), Draw::coarse));
}
/// Writes a file of a model's tensors, with what PyTorch has beside them, under names that begin with `prefix`.
template <class M>
std::string write(TemporaryDirectory const& directory, M& model, std::string const& prefix = "") {
  std::vector<std::vector<std::byte>> bytes;
  std::vector<SafetensorsEntry> entries;
  auto const names = model.names();
  bytes.reserve(2 * names.size());
  for (std::string const& name : names) {
    bytes.push_back(detail::bytes_of(model.values(name), DType::float32));
    entries.push_back({prefix + name, DType::float32, model.shape_of(name), bytes.back()});
    if (!name.ends_with("running_var")) continue;
    bytes.emplace_back(8);
    std::string const norm = name.substr(0, name.size() - std::string("running_var").size());
    entries.push_back({prefix + norm + "num_batches_tracked", DType::int64, {}, bytes.back()});
  }
  write_safetensors(directory / "weights", entries, {{"format", "pt"}});
  return directory / "weights";
}
std::vector<std::string> names_of(std::vector<std::string> names) {
  std::sort(names.begin(), names.end());
  return names;
}

TEST_CASE("a backbone takes the weights of the classifier that it was pretrained in, and the heads stay as they were") {
  TemporaryDirectory const directory;
  Classifier classifier{1};
  Segmenter fcn{2};
  randomize(classifier, 3);
  randomize(fcn, 4);
  NamedValues const before = state_of(fcn);
  SafetensorsFile const file(write(directory, classifier));
  LoadedWeights const loaded = load_part(fcn, "backbone.", file);
  CHECK(loaded.missing.empty());
  CHECK(names_of(loaded.unexpected) == std::vector<std::string>{"fc.bias", "fc.weight"});
  int in_backbone = 0;
  for (auto const& [name, values] : before) {
    bool const backbone = name.starts_with("backbone.");
    in_backbone += backbone ? 1 : 0;
    CHECK_MESSAGE(fcn.values(name) == (backbone ? classifier.values(name.substr(9)) : values), name);
  }
  CHECK(in_backbone == static_cast<int>(classifier.names().size()) - 2);

  // The whole model's names are those of its own file; its backbone goes into another one by its prefix.
  SafetensorsFile const whole(write(directory, fcn));
  Segmenter same{4}, part{5};
  load_weights(same, whole);
  CHECK(state_of(same) == state_of(fcn));
  LoadedWeights const rest = load_part(part, "backbone.", whole, "backbone.");
  CHECK(rest.unexpected.size() == before.size() - static_cast<std::size_t>(in_backbone));
  for (auto const& [name, values] : before)
    if (name.starts_with("backbone.")) CHECK_MESSAGE(part.values(name) == fcn.values(name), name);
  // And all of a model out of a file with a prefix: a checkpoint's, or a wrapper's.
  SafetensorsFile const wrapped(write(directory, fcn, "module."));
  Segmenter unwrapped{6};
  CHECK(load_part(unwrapped, "", wrapped, "module.").unexpected.empty());
  CHECK(state_of(unwrapped) == state_of(fcn));
}

TEST_CASE("a backbone refuses the file of another network, with the names, and stays as it was") {
  TemporaryDirectory const directory;
  Classifier classifier{1};
  Segmenter fcn{2};
  Model<models::Fcn<models::ResNetBackbone<18, deep_stem>, 5, 16>, Fp32, Cpu> other_stem{2};
  Model<models::ResNet<34, 10, classifier_options>, Fp32, Cpu> deeper{3};
  Model<models::ResNet<18, 10, models::ResNetOptions{.width = 4}>, Fp32, Cpu> narrower{3};
  auto const refused = [&](auto& model, std::string const& path, std::string const& part, std::string const& prefix) {
    NamedValues const before = state_of(model);
    SafetensorsFile const file(path);
    std::string const message = message_of<Error>([&] { load_part(model, part, file, prefix); });
    CHECK(state_of(model) == before);
    std::string const start = "mixprec: safetensors file '" + path + "': ";
    CHECK_MESSAGE(message.starts_with(start), message);
    return message.substr(std::min(start.size(), message.size()));
  };
  std::string const stem = refused(other_stem, write(directory, classifier), "backbone.", "");
  CHECK(stem.starts_with("does not fit the model's 'backbone.'; missing: stem.0.weight, stem.1.weight, "));
  std::string const more = refused(fcn, write(directory, deeper), "backbone.", "");
  CHECK(more.starts_with("does not fit the model's 'backbone.'; unexpected: layer1.2.bn1.bias, "));
  CHECK(more.find("fc.") == more.npos);
  CHECK(more.find(
            " more. Declare the model that the weights belong to, or say in stored_as how the part's names begin in "
            "the file, which has '") != more.npos);
  CHECK(refused(fcn, write(directory, narrower), "backbone.", "")
            .starts_with("tensor for 'backbone.conv1.weight' has the shape [4, 3, 7, 7], but the model's is [8, 3, 7, "
                         "7]."));
  CHECK(refused(fcn, write(directory, fcn), "backbone.", "").starts_with("does not fit the model's 'backbone.'"));
  CHECK(refused(fcn, write(directory, classifier), "neck.", "") ==
        "the model has no names that begin with 'neck.'. Check the part's name.");
}

}  // namespace
}  // namespace mixprec::test
