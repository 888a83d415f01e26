// SPDX-License-Identifier: Apache-2.0
// Weights between models and safetensors files, by PyTorch's names: what load_state_dict and save_file do there.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <mixprec/io/safetensors.hpp>
#include <mixprec/train/model.hpp>
#include <mixprec/train/state_dict.hpp>

namespace mixprec::inline MIXPREC_ABI {

/// The file's name for a name of the model; names that are not in it are the same in both.
using NameMap = std::map<std::string, std::string>;

/// strict: the model's names and the file's are the same set. partial: what both have is loaded.
enum class Match { strict, partial };

/// Names of the model that the file lacks, and of the file that the model lacks.
struct LoadedWeights {
  std::vector<std::string> missing, unexpected;
};

namespace detail {

inline bool loads_dtype(SafetensorsTensor const& tensor) {
  return tensor.known_dtype && (is_floating(tensor.dtype) || tensor.dtype == DType::int64);
}

/// PyTorch's counter of batches, which only its momentum=None reads.
inline bool is_batch_counter(std::string_view name) {
  constexpr std::string_view counter = "num_batches_tracked";
  return name == counter ||
         (name.size() > counter.size() && name.ends_with(counter) && name[name.size() - counter.size() - 1] == '.');
}

/// A name of the model and the file's tensor for it.
using FoundWeights = std::vector<std::pair<std::string, SafetensorsTensor const*>>;

/// Sets what was found. Errors: Error, before anything is changed, for other dtypes or shapes. Sync: waits.
template <class M>
void assign_weights(M& model, SafetensorsFile const& file, FoundWeights const& found) {
  for (auto const& [name, tensor] : found) {
    if (!loads_dtype(*tensor)) {
      fail_file("safetensors", file.path(), "tensor for '" + name + "' is stored as " + tensor->dtype_text,
                "Store it as F64, F32, F16, BF16 or I64");
    }
    std::vector<std::int64_t> const shape = model.shape_of(name);
    if (shape != tensor->shape) {
      fail_file("safetensors", file.path(),
                "tensor for '" + name + "' has the shape " + safetensors_shape_text(tensor->shape) +
                    ", but the model's is " + safetensors_shape_text(shape),
                "Declare the model that the weights belong to, or load the parts that fit by load_part");
    }
  }
  for (auto const& [name, tensor] : found) model.assign(name, values_of(tensor->bytes, tensor->dtype));
}

/// The first of them, and how many there are beside.
inline std::string listed(std::vector<std::string> const& names) {
  constexpr std::size_t most = 8;
  std::string text;
  for (std::size_t at = 0; at < names.size() && at < most; ++at) text += (at > 0 ? ", " : "") + names[at];
  if (names.size() > most) text += " and " + std::to_string(names.size() - most) + " more";
  return text;
}

}  // namespace detail

/// Sets the model's parameters and buffers from a file. torch.nn.Module.load_state_dict; num_batches_tracked is passed
/// over. Precision: F64, F32, F16, BF16 and I64 are read exactly and rounded once to what the model stores.
/// Errors: Error, before anything is changed: names that the file or the model lacks (strict) or none that both have
/// (partial), shapes that differ, another dtype, a NameMap entry for no name of the model. Sync: waits.
template <class M>
LoadedWeights load_weights(M& model, SafetensorsFile const& file, NameMap const& renamed = {},
                           Match match = Match::strict) {
  auto const refuse = [&](std::string const& what, char const* remedy) {
    detail::fail_file("safetensors", file.path(), what, remedy);
  };
  LoadedWeights result;
  detail::FoundWeights found;
  std::set<std::string> own, read;
  for (std::string const& name : model.names()) {
    own.insert(name);
    auto const other = renamed.find(name);
    std::string const& stored = other == renamed.end() ? name : other->second;
    if (!file.contains(stored)) {
      result.missing.push_back(stored == name ? name : name + " (as " + stored + ")");
      continue;
    }
    read.insert(stored);
    found.emplace_back(name, &file.find(stored));
  }
  for (auto const& [name, stored] : renamed)
    if (!own.contains(name)) refuse("the model has no '" + name + "' to load '" + stored + "' into", "Change NameMap");
  for (std::string const& name : file.names())
    if (!read.contains(name) && !detail::is_batch_counter(name)) result.unexpected.push_back(name);
  if (match == Match::strict && !(result.missing.empty() && result.unexpected.empty())) {
    refuse("does not fit the model" + (result.missing.empty() ? "" : "; missing: " + detail::listed(result.missing)) +
               (result.unexpected.empty() ? "" : "; unexpected: " + detail::listed(result.unexpected)),
           "Give a NameMap, or Match::partial to load what both have");
  }
  if (found.empty() && !own.empty()) {
    refuse("holds none of the model's tensors, such as '" + result.missing.front() + "'" +
               (result.unexpected.empty() ? "" : "; it holds '" + result.unexpected.front() + "'"),
           "Give a NameMap, or load_part for names that begin otherwise");
  }
  detail::assign_weights(model, file, found);
  return result;
}

/// Sets the part of a model whose names begin with `part`, from a file where they begin with `stored_as` in its place:
/// `load_part(fcn, "backbone.", file)` takes a backbone from the classifier that it was pretrained in, as
/// mmsegmentation does with torchvision's ResNets and its own V1c ones; `load_part(fcn, "backbone.", file,
/// "backbone.")` takes it from another segmentation model, and `load_part(net, "", file, "model.")` a model from a
/// checkpoint. Precision and Sync are load_weights'. `unexpected` of the result names the file's other tensors
/// (fc.weight). Errors: Error, before anything is changed: a part without names, names of the part that the file lacks,
/// shapes or dtypes that do not fit, and tensors that the model lacks in a child that it has (layer3.6 of a deeper
/// network).
template <class M>
LoadedWeights load_part(M& model, std::string const& part, SafetensorsFile const& file,
                        std::string const& stored_as = "") {
  auto const refuse = [&](std::string const& what, std::string const& remedy) {
    detail::fail_file("safetensors", file.path(), what, remedy);
  };
  auto const child_of = [&](std::string const& stored) { return stored.substr(0, stored.find('.', stored_as.size())); };
  LoadedWeights result;
  detail::FoundWeights found;
  std::set<std::string> read, children;
  for (std::string const& name : model.names()) {
    if (!name.starts_with(part)) continue;
    std::string const stored = stored_as + name.substr(part.size());
    children.insert(child_of(stored));
    if (!file.contains(stored)) {
      result.missing.push_back(stored);
    } else if (read.insert(stored).second) {
      found.emplace_back(name, &file.find(stored));
    }
  }
  if (children.empty()) refuse("the model has no names that begin with '" + part + "'", "Check the part's name");
  std::vector<std::string> deeper;
  for (std::string const& name : file.names()) {
    if (read.contains(name) || detail::is_batch_counter(name)) continue;
    bool const below = name.starts_with(stored_as) && children.contains(child_of(name));
    (below ? deeper : result.unexpected).push_back(name);
  }
  if (!result.missing.empty() || !deeper.empty()) {
    refuse("does not fit the model's '" + part + "'" +
               (result.missing.empty() ? "" : "; missing: " + detail::listed(result.missing)) +
               (deeper.empty() ? "" : "; unexpected: " + detail::listed(deeper)),
           "Declare the model that the weights belong to, or say in stored_as how the part's names begin in the file" +
               (file.names().empty() ? "" : ", which has '" + file.names().front() + "'"));
  }
  detail::assign_weights(model, file, found);
  return result;
}

/// Writes parameters (in the dtype of the masters) and buffers under their PyTorch names, so that
/// safetensors.torch.load_file and load_state_dict take them. The file is replaced in one step. Sync: waits.
template <class M>
void save_weights(M& model, std::string const& path) {
  std::vector<std::string> const names = model.names();
  std::vector<std::vector<std::byte>> bytes;
  std::vector<SafetensorsEntry> entries;
  bytes.reserve(names.size());
  for (std::string const& name : names) {
    bytes.push_back(detail::bytes_of(model.values(name), model.dtype_of(name)));
    entries.push_back({name, model.dtype_of(name), model.shape_of(name), bytes.back()});
  }
  write_safetensors(path, entries, {{"format", "pt"}});
}

}  // namespace mixprec::inline MIXPREC_ABI
