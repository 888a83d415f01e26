// SPDX-License-Identifier: Apache-2.0
// Checkpoints in files: a run goes on from one bit for bit, and a file that does not fit or is damaged changes nothing.
#include <functional>

#include <mixprec/train/checkpoint.hpp>

#include "io/temporary_directory.hpp"
#include "training_runs.hpp"

namespace mixprec::test {
namespace {

template <class Run, class Options>
void check_goes_on(Options const& options) {
  TemporaryDirectory const directory;
  std::string const path = directory / "run.checkpoint";
  std::vector<double> losses, expected;
  Run whole(5, options);
  for (unsigned number = 0; number < 7; ++number) expected.push_back(whole.take(number));
  {
    Run first(5, options);
    for (unsigned number = 0; number < 3; ++number) losses.push_back(first.take(number));
    save_checkpoint(first.training, path, {.epoch = 1, .batch = 3});
  }
  for (std::int64_t batch = 3; batch < 7; batch += 2) {  // stopped twice
    Run next(77, options);
    Checkpoint const checkpoint = load_checkpoint(next.training, path);
    CHECK(checkpoint.position.epoch == 1);
    CHECK(checkpoint.position.batch == batch);
    CHECK(checkpoint.warnings.empty());
    for (unsigned number = 0; number < 2; ++number) losses.push_back(next.take(static_cast<unsigned>(batch) + number));
    save_checkpoint(next.training, path, {.epoch = 1, .batch = batch + 2});
    if (batch == 5) CHECK(next.training.state() == whole.training.state());
  }
  CHECK(losses == expected);
  CHECK(directory.count() == 1);
}

TEST_CASE("a run that goes on from a checkpoint file has the weights and losses of the whole run, bit for bit") {
  check_goes_on<StepRun<Fp32, SgdOptions>>(SgdOptions{.momentum = 0.9, .dampening = 0.1});
  check_goes_on<StepRun<Amp<float16>, AdamWOptions>>(AdamWOptions{});
  check_goes_on<TrainerRun<Amp<float16>, SgdOptions>>(SgdOptions{.momentum = 0.9, .nesterov = true});
  check_goes_on<TrainerRun<Amp<bfloat16>, AdamWOptions>>(AdamWOptions{.max_norm = 0.1});
}

using CheckpointRun = StepRun<Amp<float16>, SgdOptions>;

/// A file's tensors and metadata, to be changed and written again.
struct Content {
  SafetensorsFile file;
  SafetensorsMetadata metadata;
  std::vector<SafetensorsEntry> entries;

  explicit Content(std::string const& path) : file(path), metadata(file.metadata()) {
    for (std::string const& name : file.names()) {
      SafetensorsTensor const& tensor = file.find(name);
      entries.push_back({name, tensor.dtype, tensor.shape, tensor.bytes});
    }
  }
  SafetensorsEntry& entry(std::string const& name) {
    for (SafetensorsEntry& entry : entries)
      if (entry.name == name) return entry;
    throw std::runtime_error("no entry " + name);
  }
  /// With a checksum that is right.
  void write(std::string const& path) {
    std::sort(entries.begin(), entries.end(), [](auto const& a, auto const& b) { return a.name < b.name; });
    detail::CheckpointChecksum checksum;
    checksum.metadata(metadata);
    for (SafetensorsEntry const& entry : entries)
      checksum.tensor(entry.name, detail::safetensors_name_of(entry.dtype), entry.shape, entry.bytes);
    metadata["checksum"] = checksum.hexadecimal();
    write_safetensors(path, entries, metadata);
  }
};

TEST_CASE("a checkpoint gives its notes back, and refuses a program that expects others") {
  TemporaryDirectory const directory;
  std::string const path = directory / "run";
  CheckpointRun run(5, {.momentum = 0.9}), other(6, {.momentum = 0.9});
  run.take(0);
  std::map<std::string, std::string> const notes{{"model", "saved \"net\"\n"}, {"batch_size", "6"}, {"data.seed", ""}};
  save_checkpoint(run.training, path, {.epoch = 12, .batch = 0}, notes);
  StateDict const before = other.training.state();
  auto const refused = [&](std::map<std::string, std::string> const& expected) {
    std::string const message = refusal([&] { load_checkpoint(other.training, path, expected); });
    CHECK(other.training.state() == before);
    return message;
  };
  std::string const remedy = ". Go on with the options of the run that saved it, or begin a new run.";
  CHECK(refused({{"batch_size", "6"}, {"data.seed", "1"}}) ==
        "mixprec: checkpoint file '" + path + "': its note 'data.seed' is '', and '1' is expected" + remedy);
  CHECK(refused({{"policy", "fp32"}}) ==
        "mixprec: checkpoint file '" + path + "': has no note 'policy', and 'fp32' is expected" + remedy);
  Checkpoint const checkpoint = load_checkpoint(other.training, path, {{"batch_size", "6"}});
  CHECK(checkpoint.notes == notes);
  CHECK(checkpoint.position.epoch == 12);
  CHECK(checkpoint.position.batch == 0);
  CHECK(other.training.state() == run.training.state());
}

TEST_CASE("what of the environment differs from the saved one is a warning with both values, and the state is loaded") {
  TemporaryDirectory const directory;
  std::string const path = directory / "run";
  CheckpointRun run(5, {}), other(6, {});
  run.take(0);
  save_checkpoint(run.training, path, {});
  Content content(path);
  std::vector<std::string> expected;
  for (auto& [key, value] : content.metadata) {
    if (!key.starts_with("environment.")) continue;
    expected.push_back(key.substr(12) + ": 'other' when the checkpoint was saved, '" + value +
                       "' here; results may differ in their last bits.");
    value = "other";
  }
  CHECK(expected.size() >= 5);
  CHECK(content.metadata.contains("environment.backend"));
  CHECK(content.metadata.contains("environment.library"));
  content.metadata["environment.unheard_of"] = "1";
  content.write(path);
  CHECK(load_checkpoint(other.training, path).warnings == expected);
  CHECK(other.training.state() == run.training.state());
}

TEST_CASE("a file of another format, of a newer version or of another run is refused, and one with additions is read") {
  TemporaryDirectory const directory;
  std::string const saved = directory / "saved", path = directory / "changed";
  CheckpointRun run(5, {.momentum = 0.9}), other(6, {.momentum = 0.9});
  run.take(0);
  save_checkpoint(run.training, saved, {.epoch = 3, .batch = 4});
  StateDict const before = other.training.state();
  auto const refused = [&](std::function<void(Content&)> const& change) {
    Content content(saved);
    change(content);
    content.write(path);
    std::string const message = refusal([&] { load_checkpoint(other.training, path); });
    CHECK(other.training.state() == before);
    std::string const start = "mixprec: checkpoint file '" + path + "': ";
    CHECK_MESSAGE(message.starts_with(start), message);
    return message.substr(std::min(message.size(), start.size()));
  };
  CHECK(refused([](Content& content) { content.metadata["format"] = "pt"; }) ==
        "is no checkpoint: its format is 'pt', not 'mixprec.checkpoint'. Give a file of save_checkpoint, or read "
        "weights with load_weights.");
  CHECK(refused([](Content& content) { content.metadata.erase("format"); }).starts_with("is no checkpoint"));
  CHECK(refused([](Content& content) { content.metadata["version"] = "2"; }) ==
        "has version 2, and this library reads up to 1. Use a newer version of mixprec.");
  CHECK(refused([](Content& content) { content.metadata["version"] = "1.0"; }) ==
        "its version is '1.0', which is no whole number from 0 on. Write the file anew.");
  CHECK(refused([](Content& content) { content.metadata["position.batch"] = "-1"; }) ==
        "its position.batch is '-1', which is no whole number from 0 on. Write the file anew.");
  CHECK(refused([](Content& content) { content.metadata.erase("position.epoch"); }) ==
        "its position.epoch is '', which is no whole number from 0 on. Write the file anew.");
  CHECK(refused([](Content& content) { content.entry("model.conv.weight").name = "model.stem.weight"; }) ==
        "state: \"model.conv.weight\" is missing. Load what state() has returned, whole.");
  CHECK(refused([](Content& content) {
          content.entries.push_back(content.entry("model.fc.bias"));
          content.entries.back().name = "optimizer.exp_avg.fc.bias";
        }).starts_with("state: \"optimizer.exp_avg.fc.bias\" has no place here."));
  CHECK(refused([](Content& content) {
          content.entry("ema.conv.weight").shape = {8, 9};
        }).starts_with("state: \"ema.conv.weight\" has another dtype or shape"));

  // What a later version may add without another number.
  Content content(saved);
  content.metadata["later"] = "key";
  content.entries.push_back(content.entry("model.fc.bias"));
  content.entries.back().name = "data.later";
  content.write(path);
  CHECK(load_checkpoint(other.training, path).position.batch == 4);
  CHECK(other.training.state() == run.training.state());

  run.micro_step(2);
  CHECK(refusal([&] { save_checkpoint(run.training, saved, {}); }).starts_with("mixprec: state: 1 backward passes"));
  CHECK(refusal([&] { load_checkpoint(run.training, saved); }) ==
        "mixprec: checkpoint file '" + saved +
            "': load_state: 1 backward passes of a step have been made, and their gradients are no part of the state. "
            "Finish the step first.");
  CHECK(refusal([&] { save_checkpoint(other.training, saved, {.epoch = 1, .batch = -2}); }) ==
        "mixprec: checkpoint file '" + saved + "': the position is epoch 1, batch -2. Give numbers from 0 on.");
  CHECK(load_checkpoint(other.training, saved).position.batch == 4);
}

TEST_CASE("a damaged checkpoint is refused by name, wherever the damage is, and changes nothing") {
  TemporaryDirectory const directory;
  std::string const path = directory / "run";
  CheckpointRun run(5, {.momentum = 0.9}), other(6, {.momentum = 0.9});
  run.take(0);
  save_checkpoint(run.training, path, {.epoch = 3, .batch = 4}, {{"model", "saved"}});
  std::string const whole = whole_file(path);
  StateDict const before = other.training.state();
  int loaded = 0;
  auto const load = [&](std::string const& content) {
    directory.put("run", content);
    std::string const message = refusal([&] { load_checkpoint(other.training, path); });
    bool const named = message.find("file '" + path + "': ") != message.npos;
    CHECK_MESSAGE(named, message);
    loaded += named ? 0 : 1;
  };
  std::mt19937 generator(3);
  std::uint64_t length = 0;
  std::memcpy(&length, whole.data(), sizeof length);
  std::size_t const header = 8 + static_cast<std::size_t>(length);
  REQUIRE(header < whole.size());
  for (std::size_t const size : {std::size_t{0}, std::size_t{7}, std::size_t{8}, header / 2, header - 1, header,
                                 header + 1, whole.size() / 2, whole.size() - 1})
    load(whole.substr(0, size));
  load(whole + '\0');
  // Every byte of the length and of the header, whose bits take turns, and bytes of the tensors.
  for (std::size_t at = 0; at < header; ++at) {
    std::string content = whole;
    content[at] = static_cast<char>(content[at] ^ (1 << (at % 8)));
    load(content);
  }
  for (int round = 0; round < 300; ++round) {
    std::string content = whole;
    std::size_t const at = header + generator() % (whole.size() - header);
    content[at] = static_cast<char>(content[at] ^ (1 << (generator() % 8)));
    load(content);
  }
  CHECK(loaded == 0);
  CHECK(other.training.state() == before);
  directory.put("run", whole);
  load_checkpoint(other.training, path);
  CHECK(other.training.state() == run.training.state());
}

}  // namespace
}  // namespace mixprec::test
