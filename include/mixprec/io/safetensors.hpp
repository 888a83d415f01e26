// SPDX-License-Identifier: Apache-2.0
// safetensors, the format in which weights travel: u64 header length, JSON header, then the tensors' bytes. A file is
// believed only after everything that its header claims has been held against the file.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <map>
#include <new>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <mixprec/dtype/dtype.hpp>
#include <mixprec/io/file.hpp>
#include <mixprec/io/safetensors_header.hpp>

namespace mixprec::inline MIXPREC_ABI {

static_assert(std::endian::native == std::endian::little,
              "mixprec: safetensors: bytes are used as they are, which needs a little-endian machine. Build for one.");

/// The format's own limit of the header's length.
inline constexpr std::uint64_t safetensors_header_limit = 100'000'000;

/// A tensor of a file. `dtype` counts only where `known_dtype`; `dtype_text` is the file's spelling ("F8_E4M3").
struct SafetensorsTensor {
  DType dtype = DType::float32;
  bool known_dtype = false;
  std::string dtype_text;
  std::vector<std::int64_t> shape;
  std::span<std::byte const> bytes;  ///< little endian, row-major; not necessarily aligned for the dtype
};

/// A tensor to be written.
struct SafetensorsEntry {
  std::string name;
  DType dtype = DType::float32;
  std::vector<std::int64_t> shape;
  std::span<std::byte const> bytes;
};

using SafetensorsMetadata = std::map<std::string, std::string>;

namespace detail {

struct SafetensorsDType {
  char const* text;
  unsigned bits;
  std::optional<DType> dtype;
};

inline constexpr SafetensorsDType safetensors_dtypes[] = {
    {"F64", 64, DType::float64},
    {"F32", 32, DType::float32},
    {"F16", 16, DType::float16},
    {"BF16", 16, DType::bfloat16},
    {"I64", 64, DType::int64},
    {"I32", 32, DType::int32},
    {"U8", 8, DType::uint8},
    {"U64", 64, {}},
    {"U32", 32, {}},
    {"U16", 16, {}},
    {"I16", 16, {}},
    {"I8", 8, {}},
    {"BOOL", 8, {}},
    {"C64", 64, {}},
    {"F8_E4M3", 8, {}},
    {"F8_E5M2", 8, {}},
    {"F8_E8M0", 8, {}},
    {"F6_E2M3", 6, {}},
    {"F6_E3M2", 6, {}},
    {"F4", 4, {}},
};

inline SafetensorsDType const* find_safetensors_dtype(std::string_view text) {
  for (auto const& known : safetensors_dtypes) {
    if (text == known.text) return &known;
  }
  return nullptr;
}

inline char const* safetensors_name_of(DType dtype) {
  for (auto const& known : safetensors_dtypes) {
    if (known.dtype == dtype) return known.text;
  }
  return "";
}

/// Bytes of `shape` with elements of `bits`; nothing where they exceed 2^63 - 1 or are no whole number.
template <class Integer>
std::optional<std::uint64_t> safetensors_bytes(std::vector<Integer> const& shape, std::uint64_t bits) {
  // An extent of 0 makes the product 0 whatever the others are, yet each must still be an extent.
  constexpr std::uint64_t limit = INT64_MAX;
  std::uint64_t product = bits;
  bool empty = false;
  for (Integer const signed_extent : shape) {
    auto const extent = static_cast<std::uint64_t>(signed_extent);
    if (extent > limit) return std::nullopt;
    empty = empty || extent == 0;
    if (extent == 0) continue;
    if (product > UINT64_MAX / extent) return std::nullopt;
    product *= extent;
  }
  if (empty) return 0;
  if (product % 8 != 0) return std::nullopt;
  return product / 8;
}

template <class Integer>
std::string safetensors_shape_text(std::vector<Integer> const& shape) {
  std::string text = "[";
  for (std::size_t i = 0; i < shape.size(); ++i) text += (i == 0 ? "" : ", ") + std::to_string(shape[i]);
  return text + "]";
}

inline std::string json_string(std::string_view text) {
  std::string result = "\"";
  for (char const c : text) {
    if (c == '"' || c == '\\') {
      result += '\\';
      result += c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      result += "\\u00";
      result += "0123456789abcdef"[c >> 4];
      result += "0123456789abcdef"[c & 15];
    } else {
      result += c;
    }
  }
  return result + '"';
}

inline bool is_utf8(std::string_view text) {
  while (!text.empty()) {
    std::size_t const length = utf8_length(text);
    if (length == 0) return false;
    text.remove_prefix(length);
  }
  return true;
}

}  // namespace detail

/// A safetensors file in memory. Every tensor's offsets, dtype and shape agree with each other and with the file, and
/// the tensors cover it without overlap or gap.
class SafetensorsFile {
 public:
  /// Reads the whole file. Errors: files that cannot be read, or that break the format, with the values.
  explicit SafetensorsFile(std::string path) : path_(std::move(path)) {
    InputFile file(path_, "safetensors");
    std::uint64_t length = 0;
    if (file.size() < sizeof length || file.read(std::as_writable_bytes(std::span(&length, 1))) != sizeof length) {
      fail("is truncated: " + std::to_string(file.size()) + " bytes do not hold the header's length");
    }
    if (length > safetensors_header_limit || length > file.size() - sizeof length) {
      fail("claims a header of " + std::to_string(length) + " bytes in a file of " + std::to_string(file.size()) +
           " (limit: " + std::to_string(safetensors_header_limit) + ")");
    }
    std::string text(static_cast<std::size_t>(length), '\0');
    if (file.read(std::as_writable_bytes(std::span(text))) != text.size()) fail("became shorter while it was read");

    std::uint64_t const data_bytes = file.size() - sizeof length - length;
    detail::SafetensorsHeader header = parse(text);
    check_layout(header, data_bytes);
    // The header is consistent with the file's size by now, so that this memory is really needed.
    try {
      data_.resize(static_cast<std::size_t>(data_bytes));
    } catch (std::bad_alloc const&) {
      detail::fail_file("safetensors", path_, std::to_string(data_bytes) + " bytes of tensors do not fit in memory",
                        "Free some memory");
    }
    if (file.read(data_) != data_.size()) fail("became shorter while it was read");
    for (auto& [name, entry] : header.entries) {
      auto const* const known = detail::find_safetensors_dtype(entry.dtype);
      SafetensorsTensor& tensor = tensors_[name];
      tensor.known_dtype = known->dtype.has_value();
      tensor.dtype = known->dtype.value_or(DType::float32);
      tensor.dtype_text = std::move(entry.dtype);
      tensor.shape.assign(entry.shape.begin(), entry.shape.end());
      tensor.bytes = std::span(data_).subspan(entry.begin, entry.end - entry.begin);
      names_.push_back(name);
    }
    metadata_ = std::move(header.metadata);
  }
  // The tensors are views of this object's memory, which a move hands over and a copy would not.
  SafetensorsFile(SafetensorsFile&&) = default;
  SafetensorsFile& operator=(SafetensorsFile&&) = default;

  std::string const& path() const { return path_; }
  /// Names in alphabetical order.
  std::vector<std::string> const& names() const { return names_; }
  SafetensorsMetadata const& metadata() const { return metadata_; }
  bool contains(std::string const& name) const { return tensors_.find(name) != tensors_.end(); }

  /// The tensor of that name; valid as long as the file object. Errors: no such name.
  SafetensorsTensor const& find(std::string const& name) const {
    auto const where = tensors_.find(name);
    if (where != tensors_.end()) return where->second;
    std::string some;
    for (std::size_t i = 0; i < std::min<std::size_t>(names_.size(), 8); ++i) some += (i == 0 ? "" : ", ") + names_[i];
    detail::fail_file("safetensors", path_,
                      "has no tensor '" + name + "' among its " + std::to_string(names_.size()) + " (" + some +
                          (names_.size() > 8 ? ", ...)" : ")"),
                      "Check the model's parameter names");
  }

 private:
  [[noreturn]] void fail(std::string const& what) const {
    detail::fail_file("safetensors", path_, what, "Fetch it again, or write it anew");
  }

  detail::SafetensorsHeader parse(std::string_view text) const {
    std::string problem;
    try {
      return detail::SafetensorsHeaderParser::parse(text);
    } catch (detail::SafetensorsSyntaxError const& error) {
      problem = error.what();
    }
    fail("is damaged at " + problem);
  }

  // The tensors, sorted by place, must follow each other from the first byte of the data to the last.
  void check_layout(detail::SafetensorsHeader const& header, std::uint64_t data_bytes) const {
    using Named = std::pair<std::string const, detail::SafetensorsHeaderEntry>;
    std::vector<Named const*> sorted;
    for (Named const& named : header.entries) {
      check_size(named.first, named.second, data_bytes);
      sorted.push_back(&named);
    }
    auto const place = [](Named const* named) { return std::pair(named->second.begin, named->second.end); };
    std::sort(sorted.begin(), sorted.end(), [&](auto const* a, auto const* b) { return place(a) < place(b); });
    std::uint64_t covered = 0;
    for (Named const* const named : sorted) {
      auto const& [name, entry] = *named;
      if (entry.begin != covered) {
        fail("tensor '" + name + "' begins at byte " + std::to_string(entry.begin) + " of the data, " +
             (entry.begin < covered ? "inside the tensor before it, which ends at " : "behind a gap from byte ") +
             std::to_string(covered));
      }
      covered = entry.end;
    }
    if (covered != data_bytes) {
      fail("holds " + std::to_string(data_bytes) + " bytes of data, but its tensors end at byte " +
           std::to_string(covered));
    }
  }

  void check_size(std::string const& name, detail::SafetensorsHeaderEntry const& entry,
                  std::uint64_t data_bytes) const {
    auto const* const known = detail::find_safetensors_dtype(entry.dtype);
    if (known == nullptr) fail("tensor '" + name + "' has the unknown dtype '" + entry.dtype + "'");
    if (entry.begin > entry.end || entry.end > data_bytes) {
      fail("tensor '" + name + "' claims bytes " + std::to_string(entry.begin) + " to " + std::to_string(entry.end) +
           " of " + std::to_string(data_bytes) + " bytes of data");
    }
    auto const needed = detail::safetensors_bytes(entry.shape, known->bits);
    if (needed != entry.end - entry.begin) {
      fail("tensor '" + name + "' of " + entry.dtype + " and shape " + detail::safetensors_shape_text(entry.shape) +
           (needed ? " needs " + std::to_string(*needed) + " bytes" : " has no size in whole bytes below 2^61") +
           ", but its offsets span " + std::to_string(entry.end - entry.begin));
    }
  }

  std::string path_;
  std::vector<std::byte> data_;
  std::map<std::string, SafetensorsTensor> tensors_;
  std::vector<std::string> names_;
  SafetensorsMetadata metadata_;
};

/// Writes a file that replaces `path` in one step: after a failure the old file is still there, whole. Tensors are laid
/// out by falling element size, then by name, so that each is aligned in the file; the same input gives the same bytes.
/// Errors: names that repeat, are reserved or are no UTF-8; shapes that do not match the bytes; what the system
/// refuses.
inline void write_safetensors(std::string const& path, std::span<SafetensorsEntry const> entries,
                              SafetensorsMetadata const& metadata = {}) {
  auto const refuse = [&](std::string const& what, char const* remedy) {
    detail::fail_file("safetensors", path, what, remedy);
  };
  std::set<std::string_view> names;
  std::vector<SafetensorsEntry const*> sorted;
  for (SafetensorsEntry const& entry : entries) {
    if (entry.name == "__metadata__") refuse("'__metadata__' cannot be a tensor's name", "Choose another name");
    if (!detail::is_utf8(entry.name)) refuse("the name '" + entry.name + "' is not UTF-8", "Choose another name");
    if (!names.insert(entry.name).second) refuse("the name '" + entry.name + "' is given twice", "Name tensors apart");
    auto const needed = detail::safetensors_bytes(entry.shape, 8 * size_of(entry.dtype));
    if (needed != entry.bytes.size()) {
      refuse("tensor '" + entry.name + "' of " + name_of(entry.dtype) + " and shape " +
                 detail::safetensors_shape_text(entry.shape) + " comes with " + std::to_string(entry.bytes.size()) +
                 " bytes",
             "Give the shape and dtype of the data");
    }
    sorted.push_back(&entry);
  }
  std::sort(sorted.begin(), sorted.end(), [](auto const* a, auto const* b) {
    return std::pair(size_of(b->dtype), std::string_view(a->name)) <
           std::pair(size_of(a->dtype), std::string_view(b->name));
  });

  std::string header = "{";
  if (!metadata.empty()) {
    header += "\"__metadata__\":{";
    for (auto const& [key, value] : metadata) {
      if (!detail::is_utf8(key) || !detail::is_utf8(value)) refuse("metadata '" + key + "' is not UTF-8", "Encode it");
      header += detail::json_string(key) + ":" + detail::json_string(value) + ",";
    }
    header.back() = '}';
    header += ',';
  }
  std::uint64_t offset = 0;
  for (SafetensorsEntry const* const entry : sorted) {
    header += detail::json_string(entry->name) + R"(:{"dtype":")" + detail::safetensors_name_of(entry->dtype) +
              R"(","shape":)" + detail::safetensors_shape_text(entry->shape) + R"(,"data_offsets":[)" +
              std::to_string(offset) + "," + std::to_string(offset + entry->bytes.size()) + "]},";
    offset += entry->bytes.size();
  }
  if (header.back() == ',') header.pop_back();
  header += '}';
  // Padding with spaces is the format's way to start the data at a multiple of 8.
  header.append((8 - header.size() % 8) % 8, ' ');
  if (header.size() > safetensors_header_limit) {
    refuse("its header would have " + std::to_string(header.size()) + " bytes", "Write several files");
  }

  AtomicFile file(path, "safetensors");
  std::uint64_t const length = header.size();
  file.write(std::as_bytes(std::span(&length, 1)));
  file.write(std::as_bytes(std::span(header)));
  for (SafetensorsEntry const* const entry : sorted) file.write(entry->bytes);
  file.commit();
}

}  // namespace mixprec::inline MIXPREC_ABI
