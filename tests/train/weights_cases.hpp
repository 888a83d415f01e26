// SPDX-License-Identifier: Apache-2.0
// load_weights and save_weights: values, dtypes, names, and that a refused file changes nothing.
#include <list>

#include <mixprec/train/weights.hpp>

#include "io/temporary_directory.hpp"
#include "ops/harness.hpp"

namespace mixprec::test {
namespace {

struct Small {
  nn::Conv2d<2, 4, 3> conv;
  nn::BatchNorm2d<4> norm;
  nn::GlobalAvgPool2d pool;
  nn::Linear<4, 3> fc;
  MIXPREC_MODULE(conv, norm, pool, fc)
  constexpr auto operator()(auto const& x) const { return fc(pool(relu(norm(conv(x))))); }
};
template <class Policy>
using SmallModel = Model<Small, Policy, TestBackend>;

template <class M>
Values output_of(M& model) {
  NoGrad const no_grad(model);
  model.set_training(false);
  auto& session = model.session();
  Shape const shape{2, 2, 5, 5};
  std::mt19937 generator(3);
  Values const values = draw(generator, static_cast<std::size_t>(shape.size()), Draw::coarse);
  auto const x = tensor_of<float>(session, shape, values);
  return values_of(session, model(x).tensor());
}

/// Tensors for a file, from values; the memory lives here.
class FileContent {
 public:
  template <class T>
  void put(std::string name, std::vector<std::int64_t> shape, Values const& values) {
    std::vector<std::byte>& bytes = bytes_.emplace_back(values.size() * sizeof(T));
    for (std::size_t index = 0; index < values.size(); ++index) {
      T value;
      if constexpr (std::is_integral_v<T>) {
        value = static_cast<T>(values[index]);
      } else {
        value = convert<T>(values[index]);
      }
      std::memcpy(bytes.data() + index * sizeof(T), &value, sizeof(T));
    }
    entries_.push_back({std::move(name), dtype_of_v<T>, std::move(shape), bytes});
  }
  void remove(std::string const& name) {
    std::erase_if(entries_, [&](SafetensorsEntry const& entry) { return entry.name == name; });
  }
  void rename(std::string const& from, std::string const& to) {
    for (SafetensorsEntry& entry : entries_)
      if (entry.name == from) entry.name = to;
  }
  std::string write(TemporaryDirectory const& directory, std::string const& name) const {
    write_safetensors(directory / name, entries_);
    return directory / name;
  }

 private:
  std::list<std::vector<std::byte>> bytes_;
  std::vector<SafetensorsEntry> entries_;
};

/// All of Small's tensors, each in another dtype; the values are exact in all of them.
FileContent small_content(NamedValues const& state) {
  FileContent content;
  std::size_t index = 0;
  Model<Small, Fp32, Cpu> model;
  for (auto const& [name, values] : state) {
    auto const shape = model.shape_of(name);
    switch (index++ % 5) {
      case 0: content.put<float>(name, shape, values); break;
      case 1: content.put<float16>(name, shape, values); break;
      case 2: content.put<bfloat16>(name, shape, values); break;
      case 3: content.put<double>(name, shape, values); break;
      default: content.put<float>(name, shape, values); break;
    }
  }
  content.put<std::int64_t>("norm.num_batches_tracked", {}, {12});
  return content;
}

TEST_CASE("saved weights, loaded into a model of another seed, give the same values and outputs") {
  TemporaryDirectory const directory;
  auto const one = [&]<class Policy>() {
    INFO("policy " << std::string(Policy::name));
    SmallModel<Policy> from{1}, to{2};
    // One model has run and holds rounded values, the other one has not and holds what it was given.
    constexpr bool runs = Policy::low == DType::float16;
    assign_state(from, draw_state<Small>({.seed = 4}, runs ? Draw::smooth : Draw::coarse));
    if (runs) (void)output_of(from);
    save_weights(from, directory / "weights");
    SafetensorsFile const file(directory / "weights");
    CHECK(file.metadata().at("format") == "pt");
    DType const stored = Policy::parameter(ParameterKind::weight);
    CHECK(file.find("conv.weight").dtype == stored);
    CHECK(file.find("conv.weight").shape == std::vector<std::int64_t>{4, 2, 3, 3});
    CHECK(file.find("norm.running_var").dtype == DType::float32);

    (void)output_of(to);
    CHECK(state_of(to) != state_of(from));
    LoadedWeights const loaded = load_weights(to, file);
    CHECK(loaded.missing.empty());
    CHECK(loaded.unexpected.empty());
    CHECK(state_of(to) == state_of(from));
    CHECK(output_of(to) == output_of(from));
  };
  one.template operator()<Fp32>();
  one.template operator()<Amp<float16>>();
  one.template operator()<ApexO3>();
}

TEST_CASE("F64, F32, F16, BF16 and I64 are loaded, and num_batches_tracked is passed over") {
  TemporaryDirectory const directory;
  NamedValues state = draw_state<Small>({.seed = 6}, Draw::coarse);
  FileContent content = small_content(state);
  for (auto& [name, values] : state) {
    if (name != "fc.bias") continue;
    values = {3, -4, 5};
    content.remove(name);
    content.put<std::int64_t>(name, {3}, values);
  }
  SafetensorsFile const file(content.write(directory, "weights"));
  SmallModel<Fp32> model{1};
  load_weights(model, file);
  // The values have six bits, but for the variances.
  for (auto const& [name, values] : state) CHECK_EQ(difference(name, model.values(name), values, 0x1p-9), "");
  CHECK(model.values("fc.bias") == Values{3, -4, 5});
}

TEST_CASE("a NameMap gives the file's names, and a partial match loads what both have") {
  TemporaryDirectory const directory;
  NamedValues const state = draw_state<Small>({.seed = 6}, Draw::coarse);
  FileContent content = small_content(state);
  content.rename("conv.weight", "backbone.stem.weight");
  content.rename("fc.bias", "head.bias");
  SafetensorsFile const file(content.write(directory, "weights"));
  SmallModel<Fp32> renamed{1}, partial{1};
  load_weights(renamed, file, {{"conv.weight", "backbone.stem.weight"}, {"fc.bias", "head.bias"}});
  Values const before = partial.values("conv.weight");
  LoadedWeights const loaded = load_weights(partial, file, {{"fc.bias", "head.bias"}}, Match::partial);
  CHECK(loaded.missing == std::vector<std::string>{"conv.weight"});
  CHECK(loaded.unexpected == std::vector<std::string>{"backbone.stem.weight"});
  CHECK(partial.values("conv.weight") == before);
  partial.assign("conv.weight", renamed.values("conv.weight"));
  CHECK(state_of(partial) == state_of(renamed));

  FileContent foreign;
  foreign.put<float>("features.0.weight", {1}, {0});
  SafetensorsFile const other(foreign.write(directory, "other"));
  std::string const nothing = "mixprec: safetensors file '" + other.path() +
                              "': holds none of the model's tensors, such as 'conv.weight'; it holds "
                              "'features.0.weight'. Give a NameMap, or load_part for names that begin otherwise.";
  CHECK_THROWS_WITH_AS(load_weights(partial, other, {}, Match::partial), nothing.c_str(), Error);
  CHECK(state_of(partial) == state_of(renamed));
}

TEST_CASE("weights that do not fit are refused with names and values, and the model stays as it was") {
  TemporaryDirectory const directory;
  NamedValues const state = draw_state<Small>({.seed = 6}, Draw::coarse);
  SmallModel<Amp<float16>> model{1};
  (void)output_of(model);
  NamedValues const before = state_of(model);
  auto const refused = [&](FileContent const& content, std::string const& message, NameMap const& names = {}) {
    SafetensorsFile const file(content.write(directory, "weights"));
    std::string const expected = "mixprec: safetensors file '" + file.path() + "': " + message;
    CHECK_THROWS_WITH_AS(load_weights(model, file, names), expected.c_str(), Error);
    CHECK(state_of(model) == before);
  };

  FileContent lacking = small_content(state);
  lacking.remove("conv.bias");
  lacking.rename("fc.weight", "fc.w");
  refused(lacking,
          "does not fit the model; missing: conv.bias, fc.weight; unexpected: fc.w. Give a NameMap, or Match::partial "
          "to load what both have.");
  refused(lacking,
          "does not fit the model; missing: conv.bias, fc.weight (as other); unexpected: fc.w. Give a NameMap, or "
          "Match::partial to load what both have.",
          {{"fc.weight", "other"}});
  refused(lacking, "the model has no 'fc.w' to load 'fc.weight' into. Change NameMap.", {{"fc.w", "fc.weight"}});

  FileContent longer = small_content(state);
  longer.put<float>("neck", {1}, {0});
  refused(longer,
          "does not fit the model; unexpected: neck. Give a NameMap, or Match::partial to load what both have.");

  // The last tensors that are looked at are wrong, so that the first ones would have been changed.
  FileContent shape = small_content(state);
  shape.remove("norm.running_var");
  shape.put<float>("norm.running_var", {2, 2}, {1, 1, 1, 1});
  refused(shape,
          "tensor for 'norm.running_var' has the shape [2, 2], but the model's is [4]. Declare the model that the "
          "weights belong to, or load the parts that fit by load_part.");
  FileContent dtype = small_content(state);
  dtype.remove("norm.running_var");
  dtype.put<std::int32_t>("norm.running_var", {4}, {1, 1, 1, 1});
  refused(dtype, "tensor for 'norm.running_var' is stored as I32. Store it as F64, F32, F16, BF16 or I64.");
}

}  // namespace
}  // namespace mixprec::test
