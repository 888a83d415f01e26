// SPDX-License-Identifier: Apache-2.0
// Files that an example leaves behind: refused before the training, and written whole or not at all.
#pragma once

#include <sys/stat.h>

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

#include <mixprec/io/file.hpp>

namespace support {

/// Throws a sentence where `path` cannot become a file, before anything expensive is done.
inline void check_writable(std::string const& path) {
  // The finished file takes the place of what is there, which must not happen to a directory or a device.
  struct stat status {};
  if (::stat(path.c_str(), &status) == 0 && !S_ISREG(status.st_mode)) {
    throw mixprec::Error("output file '" + path + "': is a directory or a device. Give the name of a file.");
  }
  mixprec::AtomicFile probe(path, "output");
}

/// Writes the file whole or not at all. `format` is the word that errors use.
inline void write_text(std::string const& path, std::string const& format, std::string_view text) {
  mixprec::AtomicFile out(path, format);
  out.write(std::as_bytes(std::span(text)));
  out.commit();
}

}  // namespace support
