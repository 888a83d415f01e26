// SPDX-License-Identifier: Apache-2.0
// An image file of whichever format its name says.
#pragma once

#include <algorithm>
#include <cctype>
#include <string>

#include <mixprec/data/jpeg.hpp>
#include <mixprec/data/png.hpp>

namespace mixprec::inline MIXPREC_ABI {

/// Reads a .png, .jpg or .jpeg file. Errors: another ending, and those of `read_png` and `read_jpeg`.
inline Image read_image(std::string const& path) {
  std::string lower = path;
  std::transform(lower.begin(), lower.end(), lower.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  if (lower.ends_with(".png")) return read_png(path);
  if (lower.ends_with(".jpg") || lower.ends_with(".jpeg")) return read_jpeg(path);
  detail::fail_file("image", path, "its name ends in none of .png, .jpg and .jpeg", "Give a PNG or JPEG file");
}

}  // namespace mixprec::inline MIXPREC_ABI
