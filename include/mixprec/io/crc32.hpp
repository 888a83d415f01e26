// SPDX-License-Identifier: Apache-2.0
// CRC-32, with which a file shows that its bytes are those that were written. As in zlib, gzip and PNG (RFC 1952,
// section 8), so that other programs have it at hand.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include <mixprec/config.hpp>

namespace mixprec::inline MIXPREC_ABI {

namespace detail {
/// Entry [k][b]: the checksum's change by byte b with k zero bytes behind it, so that four bytes take one step.
constexpr std::array<std::array<std::uint32_t, 256>, 4> crc32_tables() {
  std::array<std::array<std::uint32_t, 256>, 4> tables{};
  for (std::uint32_t byte = 0; byte < 256; ++byte) {
    std::uint32_t value = byte;
    for (int bit = 0; bit < 8; ++bit) value = (value & 1) != 0 ? value >> 1 ^ 0xedb88320u : value >> 1;
    tables[0][byte] = value;
  }
  for (std::size_t zeros = 1; zeros < 4; ++zeros) {
    for (std::size_t byte = 0; byte < 256; ++byte) {
      std::uint32_t const before = tables[zeros - 1][byte];
      tables[zeros][byte] = before >> 8 ^ tables[0][before & 0xff];
    }
  }
  return tables;
}
inline constexpr auto crc32_table = crc32_tables();
}  // namespace detail

/// A checksum that takes its bytes in any number of pieces.
class Crc32 {
 public:
  constexpr Crc32& add(std::span<std::byte const> bytes) {
    auto const& table = detail::crc32_table;
    auto const at = [&](std::size_t index) { return std::to_integer<std::uint32_t>(bytes[index]); };
    std::size_t index = 0;
    for (; index + 4 <= bytes.size(); index += 4) {
      std::uint32_t const word = state_ ^ (at(index) | at(index + 1) << 8 | at(index + 2) << 16 | at(index + 3) << 24);
      state_ = table[3][word & 0xff] ^ table[2][word >> 8 & 0xff] ^ table[1][word >> 16 & 0xff] ^ table[0][word >> 24];
    }
    for (; index < bytes.size(); ++index) state_ = state_ >> 8 ^ table[0][(state_ ^ at(index)) & 0xff];
    return *this;
  }
  Crc32& add(std::string_view text) { return add(std::as_bytes(std::span(text))); }

  constexpr std::uint32_t value() const { return ~state_; }

 private:
  std::uint32_t state_ = 0xffffffffu;
};

}  // namespace mixprec::inline MIXPREC_ABI
