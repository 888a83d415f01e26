// SPDX-License-Identifier: Apache-2.0
// AtomicFile: what killed writers leave is removed, and what living ones write is not; and the CRC-32 of files.
#include <doctest/doctest.h>

#include <cstdint>
#include <optional>
#include <random>

#include <mixprec/io/crc32.hpp>
#include <mixprec/io/file.hpp>

#include "temporary_directory.hpp"

namespace mp = mixprec;

namespace {

std::span<std::byte const> bytes_of(std::string const& text) { return std::as_bytes(std::span(text)); }

std::uint32_t crc_bit_by_bit(std::string const& text) {
  std::uint32_t remainder = 0xffffffffu;
  for (char const c : text) {
    for (int bit = 0; bit < 8; ++bit) {
      bool const odd = ((remainder ^ static_cast<std::uint32_t>(static_cast<unsigned char>(c) >> bit)) & 1) != 0;
      remainder = remainder >> 1 ^ (odd ? 0xedb88320u : 0);
    }
  }
  return ~remainder;
}

}  // namespace

TEST_CASE("atomic file: temporary files of killed writers are removed, other files are not") {
  TemporaryDirectory const directory;
  std::string const path = directory.put("a", "old");
  directory.put("a.mixprec-tmp-1-0", "half");
  directory.put("a.mixprec-tmp-4194304999-17", "half");
  std::string const others[] = {"b.mixprec-tmp-1-0", "a.mixprec-tmp-", "a.mixprec-tmp-1-x", "a.tmp",
                                "aa.mixprec-tmp-1-0"};
  for (std::string const& name : others) directory.put(name, "another's");
  {
    mp::AtomicFile file(path, "test");
    CHECK(directory.count() == 7);
    file.write(bytes_of("new"));
    file.commit();
  }
  CHECK(whole_file(path) == "new");
  for (std::string const& name : others) CHECK(whole_file(directory / name) == "another's");
  CHECK(directory.count() == 6);
}

TEST_CASE("atomic file: two writers of one name do not disturb each other, and the later commit stays") {
  TemporaryDirectory const directory;
  std::string const path = directory / "a";
  {
    std::optional<mp::AtomicFile> first(std::in_place, path, "test");
    first->write(bytes_of("first"));
    mp::AtomicFile second(path, "test"), third(path, "test");
    second.write(bytes_of("second"));
    CHECK(directory.count() == 3);
    second.commit();
    CHECK(whole_file(path) == "second");
    first->commit();
    CHECK(whole_file(path) == "first");
    first.reset();
    CHECK(directory.count() == 2);  // the third's temporary file
  }
  CHECK(directory.count() == 1);
  CHECK(whole_file(path) == "first");
}

TEST_CASE("crc32: the sum of bytes in pieces of any size is that of zlib") {
  CHECK(mp::Crc32().add("").value() == 0);
  CHECK(mp::Crc32().add("123456789").value() == 0xcbf43926u);  // the check value of CRC-32/ISO-HDLC
  std::mt19937 generator(11);
  std::string text;
  for (int length = 0; length < 70; ++length) {
    std::uint32_t const expected = crc_bit_by_bit(text);
    CHECK(mp::Crc32().add(text).value() == expected);
    std::size_t const cut = generator() % (text.size() + 1);
    CHECK(mp::Crc32().add(text.substr(0, cut)).add(text.substr(cut)).value() == expected);
    text += static_cast<char>(generator());
  }
}
