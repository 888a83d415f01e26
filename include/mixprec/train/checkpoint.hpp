// SPDX-License-Identifier: Apache-2.0
// A training run in a file: its state, where it stands, and what it was made with. docs/checkpoints.md describes the
// format.
#pragma once

#include <charconv>
#include <cstdint>
#include <cstdio>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <mixprec/io/crc32.hpp>
#include <mixprec/io/safetensors.hpp>
#include <mixprec/train/state_dict.hpp>

namespace mixprec::inline MIXPREC_ABI {

/// The next batch to be trained: loader.epoch(position.epoch, position.batch) goes on there.
struct CheckpointPosition {
  std::int64_t epoch = 0, batch = 0;
};

/// What a checkpoint holds beside the state.
struct Checkpoint {
  CheckpointPosition position;
  std::map<std::string, std::string> notes;
  std::vector<std::string> warnings;  ///< of what the last bits of results may depend on, and is different here
};

namespace detail {

inline constexpr char const* checkpoint_format = "mixprec.checkpoint";
inline constexpr std::int64_t checkpoint_version = 1;  // of the format: the newest that is read, and what is written

/// Names of the tensors that belong to this version; others are left alone.
inline bool is_checkpoint_tensor(std::string_view name) {
  for (char const* const prefix : {"model.", "optimizer.", "ema.", "scaler.", "step.", "random."})
    if (name.starts_with(prefix)) return true;
  return false;
}

/// Takes metadata and tensors in the order of their names; tensors after metadata.
class CheckpointChecksum {
 public:
  void metadata(SafetensorsMetadata const& metadata) {
    for (auto const& [key, value] : metadata)
      if (key != "checksum") text(key), text(value);
  }
  void tensor(std::string_view name, std::string_view dtype, std::vector<std::int64_t> const& shape,
              std::span<std::byte const> bytes) {
    text(name), text(dtype);
    for (std::int64_t const extent : shape) text(std::to_string(extent));
    crc_.add(bytes);
  }
  std::string hexadecimal() const {
    char digits[9];
    std::snprintf(digits, sizeof digits, "%08x", static_cast<unsigned>(crc_.value()));
    return digits;
  }

 private:
  void text(std::string_view text) { crc_.add(text).add(std::string_view("", 1)); }
  Crc32 crc_;
};

/// What is read from a checkpoint file before anything is changed. Errors: all say the file's path.
class CheckpointReader {
 public:
  explicit CheckpointReader(std::string const& path) : file_(path) {
    std::string const format = value("format", "");
    if (format != checkpoint_format) {
      fail("is no checkpoint: its format is '" + format + "', not '" + checkpoint_format + "'",
           "Give a file of save_checkpoint, or read weights with load_weights");
    }
    if (std::int64_t const version = number("version"); version > checkpoint_version) {
      fail("has version " + std::to_string(version) + ", and this library reads up to " +
               std::to_string(checkpoint_version),
           "Use a newer version of mixprec");
    }
    CheckpointChecksum checksum;
    checksum.metadata(file_.metadata());
    for (std::string const& name : file_.names()) {
      SafetensorsTensor const& tensor = file_.find(name);
      checksum.tensor(name, tensor.dtype_text, tensor.shape, tensor.bytes);
    }
    std::string const stored = value("checksum", "none");
    if (checksum.hexadecimal() != stored) {
      fail("is damaged: its checksum is " + checksum.hexadecimal() + ", and " + stored + " was written",
           "Use an older checkpoint");
    }
  }

  CheckpointPosition position() const { return {number("position.epoch"), number("position.batch")}; }

  /// Metadata whose keys begin with `prefix`, without it.
  std::map<std::string, std::string> below(std::string_view prefix) const {
    std::map<std::string, std::string> result;
    for (auto const& [key, text] : file_.metadata())
      if (key.starts_with(prefix)) result.emplace(key.substr(prefix.size()), text);
    return result;
  }

  StateDict state() const {
    StateDict state;
    for (std::string const& name : file_.names()) {
      if (!is_checkpoint_tensor(name)) continue;
      SafetensorsTensor const& tensor = file_.find(name);
      if (!tensor.known_dtype) fail("tensor '" + name + "' is stored as " + tensor.dtype_text, "Write the file anew");
      state.push_back({name, tensor.dtype, tensor.shape, {tensor.bytes.begin(), tensor.bytes.end()}});
    }
    return state;
  }

  [[noreturn]] void fail(std::string const& what, std::string const& remedy) const {
    fail_file("checkpoint", file_.path(), what, remedy);
  }

 private:
  std::string value(std::string const& key, std::string const& otherwise) const {
    auto const at = file_.metadata().find(key);
    return at == file_.metadata().end() ? otherwise : at->second;
  }
  std::int64_t number(std::string const& key) const {
    std::string const text = value(key, "");
    std::int64_t result = -1;
    auto const [end, problem] = std::from_chars(text.data(), text.data() + text.size(), result);
    if (problem != std::errc() || end != text.data() + text.size() || result < 0)
      fail("its " + key + " is '" + text + "', which is no whole number from 0 on", "Write the file anew");
    return result;
  }

  SafetensorsFile file_;
};

/// The backend's environment, with the backend and the library's version.
template <class Training>
std::map<std::string, std::string> checkpoint_environment(Training& training) {
  std::map<std::string, std::string> result = environment(training.stream());
  result["backend"] = Training::B::name;
  result["library"] = std::to_string(MIXPREC_VERSION_MAJOR) + "." + std::to_string(MIXPREC_VERSION_MINOR) + "." +
                      std::to_string(MIXPREC_VERSION_PATCH);
  return result;
}

}  // namespace detail

/// Writes everything that `training` (a Step or a Trainer) depends on beside its options and data, and `position`, to a
/// safetensors file that load_checkpoint goes on from. `notes` are what load_checkpoint shall hold against the program
/// that loads: model, policy, batch size, the data's seed, options. The file is replaced in one step: a kill, a full
/// disk or another Error leaves the old one whole.
/// Sync: waits for the device and the disk. Errors: Error with the path for what the system refuses, for a negative
/// position and for notes that are no UTF-8; Error in the middle of a step.
template <class Training>
void save_checkpoint(Training& training, std::string const& path, CheckpointPosition position,
                     std::map<std::string, std::string> const& notes = {}) {
  if (position.epoch < 0 || position.batch < 0) {
    detail::fail_file(
        "checkpoint", path,
        "the position is epoch " + std::to_string(position.epoch) + ", batch " + std::to_string(position.batch),
        "Give numbers from 0 on");
  }
  SafetensorsMetadata metadata{{"format", detail::checkpoint_format},
                               {"version", std::to_string(detail::checkpoint_version)},
                               {"position.epoch", std::to_string(position.epoch)},
                               {"position.batch", std::to_string(position.batch)}};
  for (auto const& [key, value] : notes) metadata["note." + key] = value;
  for (auto const& [key, value] : detail::checkpoint_environment(training)) metadata["environment." + key] = value;

  std::map<std::string, StateTensor> state;
  for (StateTensor& tensor : training.state()) state.emplace(tensor.name, std::move(tensor));
  detail::CheckpointChecksum checksum;
  checksum.metadata(metadata);
  std::vector<SafetensorsEntry> entries;
  for (auto const& [name, tensor] : state) {
    checksum.tensor(name, detail::safetensors_name_of(tensor.dtype), tensor.shape, tensor.bytes);
    entries.push_back({name, tensor.dtype, tensor.shape, tensor.bytes});
  }
  metadata["checksum"] = checksum.hexadecimal();
  write_safetensors(path, entries, metadata);
}

/// Gives `training` the state of a file of save_checkpoint, so that it goes on bit for bit where the same library runs
/// in the same environment on the same batches; `warnings` of the result say what of the environment differs. Model,
/// optimizer, scaler, schedule and EMA must be built with the options of the run that saved.
/// Sync: waits. Errors: Error with the path, before anything is changed, for a damaged file, another format or a newer
/// version of it, `expected_notes` that the file lacks or has with other values, a state that does not fit; Error in
/// the middle of a step.
template <class Training>
Checkpoint load_checkpoint(Training& training, std::string const& path,
                           std::map<std::string, std::string> const& expected_notes = {}) {
  detail::CheckpointReader const file(path);
  Checkpoint result{.position = file.position(), .notes = file.below("note."), .warnings = {}};
  for (auto const& [key, value] : expected_notes) {
    auto const at = result.notes.find(key);
    if (at != result.notes.end() && at->second == value) continue;
    file.fail(at == result.notes.end()
                  ? "has no note '" + key + "', and '" + value + "' is expected"
                  : "its note '" + key + "' is '" + at->second + "', and '" + value + "' is expected",
              "Go on with the options of the run that saved it, or begin a new run");
  }
  auto const here = detail::checkpoint_environment(training);
  for (auto const& [key, value] : file.below("environment.")) {
    auto const at = here.find(key);
    if (at == here.end() || at->second == value) continue;
    result.warnings.push_back(key + ": '" + value + "' when the checkpoint was saved, '" + at->second +
                              "' here; results may differ in their last bits.");
  }
  try {
    training.load_state(file.state());
  } catch (Error const& error) {
    std::string_view what = error.what();
    if (what.starts_with("mixprec: ")) what.remove_prefix(9);
    throw Error("checkpoint file '" + path + "': " + std::string(what));
  }
  return result;
}

}  // namespace mixprec::inline MIXPREC_ABI
