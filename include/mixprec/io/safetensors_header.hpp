// SPDX-License-Identifier: Apache-2.0
// The JSON of safetensors headers, strictly: an object of names, each with dtype, shape and data_offsets, and string
// metadata. Anything else that JSON allows is refused, so that no other JSON needs to be understood.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <mixprec/config.hpp>

namespace mixprec::inline MIXPREC_ABI::detail {

/// What is wrong with a header's text, and where; the reader adds the file's name and turns it into an Error.
class SafetensorsSyntaxError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// One entry as the header states it; nothing but the JSON has been checked.
struct SafetensorsHeaderEntry {
  std::string dtype;
  std::vector<std::uint64_t> shape;
  std::uint64_t begin = 0, end = 0;
};

struct SafetensorsHeader {
  std::map<std::string, SafetensorsHeaderEntry> entries;
  std::map<std::string, std::string> metadata;
};

/// Bytes of the UTF-8 sequence at the start of `text`, or 0 where it is not valid (overlong, surrogate, cut off).
inline std::size_t utf8_length(std::string_view text) {
  auto const byte = [&](std::size_t i) { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0u; };
  auto const follows = [&](std::size_t i) { return (byte(i) & 0xc0) == 0x80; };
  unsigned const lead = byte(0), second = byte(1);
  if (lead < 0x80) return text.empty() ? 0 : 1;
  if (lead >= 0xc2 && lead <= 0xdf && follows(1)) return 2;
  if ((lead & 0xf0) == 0xe0 && follows(1) && follows(2)) {
    bool const overlong = lead == 0xe0 && second < 0xa0, surrogate = lead == 0xed && second >= 0xa0;
    return overlong || surrogate ? 0 : 3;
  }
  if (lead >= 0xf0 && lead <= 0xf4 && follows(1) && follows(2) && follows(3)) {
    bool const overlong = lead == 0xf0 && second < 0x90, too_large = lead == 0xf4 && second >= 0x90;
    return overlong || too_large ? 0 : 4;
  }
  return 0;
}

/// Appends `code` in UTF-8.
inline void append_utf8(std::string& text, std::uint32_t code) {
  auto const tail = [&](int shift) { text += static_cast<char>(0x80 | (code >> shift & 0x3f)); };
  if (code < 0x80) {
    text += static_cast<char>(code);
  } else if (code < 0x800) {
    text += static_cast<char>(0xc0 | code >> 6);
    tail(0);
  } else if (code < 0x10000) {
    text += static_cast<char>(0xe0 | code >> 12);
    tail(6);
    tail(0);
  } else {
    text += static_cast<char>(0xf0 | code >> 18);
    tail(12);
    tail(6);
    tail(0);
  }
}

/// Reads the header's text once from front to back. No recursion: the depth is fixed.
class SafetensorsHeaderParser {
 public:
  /// Throws SafetensorsSyntaxError at what is not the JSON described above.
  static SafetensorsHeader parse(std::string_view text) {
    SafetensorsHeaderParser parser(text);
    return parser.header();
  }

 private:
  explicit SafetensorsHeaderParser(std::string_view text) : text_(text) {}

  [[noreturn]] void fail(std::string const& what) const {
    throw SafetensorsSyntaxError("header byte " + std::to_string(at_) + ": " + what);
  }

  SafetensorsHeader header() {
    SafetensorsHeader result;
    // Trailing spaces are the format's padding; leading ones are not allowed.
    if (text_.empty() || text_[0] != '{') fail("the header does not start with '{'");
    bool has_metadata = false;
    object([&](std::string name) {
      if (name == "__metadata__") {
        if (std::exchange(has_metadata, true)) fail("__metadata__ occurs twice");
        object([&](std::string key) {
          std::string value = string();
          if (!result.metadata.emplace(key, std::move(value)).second) fail("metadata key '" + key + "' occurs twice");
        });
        return;
      }
      auto const [where, is_new] = result.entries.try_emplace(std::move(name));
      if (!is_new) fail("the name '" + where->first + "' occurs twice");
      entry(where->second);
    });
    skip_space();
    if (at_ != text_.size()) fail("text follows the header's closing brace");
    return result;
  }

  void entry(SafetensorsHeaderEntry& out) {
    bool has_dtype = false, has_shape = false, has_offsets = false;
    object([&](std::string const& field) {
      bool* const seen = field == "dtype"          ? &has_dtype
                         : field == "shape"        ? &has_shape
                         : field == "data_offsets" ? &has_offsets
                                                   : nullptr;
      if (seen == nullptr) fail("unknown field '" + field + "'");
      if (std::exchange(*seen, true)) fail("the field '" + field + "' occurs twice");
      if (seen == &has_dtype) {
        out.dtype = string();
      } else if (seen == &has_shape) {
        out.shape = integers();
      } else {
        std::vector<std::uint64_t> const offsets = integers();
        if (offsets.size() != 2) fail("data_offsets has " + std::to_string(offsets.size()) + " numbers, not 2");
        out.begin = offsets[0];
        out.end = offsets[1];
      }
    });
    if (!has_dtype || !has_shape || !has_offsets) fail("an entry lacks dtype, shape or data_offsets");
  }

  // Calls `member(key)` for every key; it reads the value.
  template <class Member>
  void object(Member const& member) {
    expect('{');
    if (accept('}')) return;
    do {
      skip_space();
      std::string key = string();
      expect(':');
      skip_space();
      member(std::move(key));
    } while (accept(','));
    expect('}');
  }

  std::vector<std::uint64_t> integers() {
    std::vector<std::uint64_t> values;
    expect('[');
    if (accept(']')) return values;
    do {
      skip_space();
      values.push_back(integer());
    } while (accept(','));
    expect(']');
    return values;
  }

  std::uint64_t integer() {
    std::size_t const start = at_;
    std::uint64_t value = 0;
    while (at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9') {
      auto const digit = static_cast<std::uint64_t>(text_[at_] - '0');
      if (value > (UINT64_MAX - digit) / 10) fail("the number does not fit in 64 bits");
      value = value * 10 + digit;
      ++at_;
    }
    if (at_ == start) fail("a non-negative integer is missing");
    if (text_[start] == '0' && at_ - start > 1) fail("a number starts with 0");
    return value;
  }

  std::string string() {
    expect('"');
    std::string result;
    for (;;) {
      if (at_ == text_.size()) fail("the header ends inside a string");
      char const c = text_[at_];
      if (c == '"') break;
      if (c == '\\') {
        escape(result);
        continue;
      }
      std::size_t const length = utf8_length(text_.substr(at_));
      if (length == 0) fail("a string is not valid UTF-8");
      if (static_cast<unsigned char>(c) < 0x20) fail("a control character in a string");
      result.append(text_, at_, length);
      at_ += length;
    }
    ++at_;
    return result;
  }

  void escape(std::string& out) {
    ++at_;
    char const kind = at_ < text_.size() ? text_[at_] : '\0';
    constexpr std::string_view letters = "\"\\/bfnrt", values = "\"\\/\b\f\n\r\t";
    if (auto const which = letters.find(kind); which != std::string_view::npos) {
      out += values[which];
      ++at_;
      return;
    }
    if (kind != 'u') fail("an unknown escape in a string");
    std::uint32_t code = hex4();
    if (code >= 0xd800 && code < 0xdc00) {
      if (text_.substr(at_, 2) != "\\u") fail("half of a surrogate pair");
      ++at_;
      std::uint32_t const low = hex4();
      if (low < 0xdc00 || low >= 0xe000) fail("half of a surrogate pair");
      code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
    } else if (code >= 0xdc00 && code < 0xe000) {
      fail("half of a surrogate pair");
    }
    append_utf8(out, code);
  }

  // The four digits behind the 'u' at the current place.
  std::uint32_t hex4() {
    std::uint32_t code = 0;
    for (std::size_t i = 1; i <= 4; ++i) {
      char const c = at_ + i < text_.size() ? text_[at_ + i] : '\0';
      char const lower = static_cast<char>(c | 0x20);
      if (c >= '0' && c <= '9') {
        code = code * 16 + static_cast<std::uint32_t>(c - '0');
      } else if (lower >= 'a' && lower <= 'f') {
        code = code * 16 + static_cast<std::uint32_t>(lower - 'a' + 10);
      } else {
        fail("\\u without four hexadecimal digits");
      }
    }
    at_ += 5;
    return code;
  }

  void skip_space() {
    while (at_ < text_.size() &&
           (text_[at_] == ' ' || text_[at_] == '\t' || text_[at_] == '\n' || text_[at_] == '\r')) {
      ++at_;
    }
  }

  bool accept(char c) {
    skip_space();
    if (at_ == text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }

  void expect(char c) {
    if (!accept(c)) fail(std::string("'") + c + "' is missing");
  }

  std::string_view text_;
  std::size_t at_ = 0;
};

}  // namespace mixprec::inline MIXPREC_ABI::detail
