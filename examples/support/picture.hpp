// SPDX-License-Identifier: Apache-2.0
// A picture in memory with the few things that charts are drawn from, and its PNG file.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include <mixprec/data/png.hpp>

#include "font.hpp"

namespace support {

struct Colour {
  std::uint8_t red, green, blue;
};

inline constexpr Colour white{255, 255, 255}, ink{40, 40, 48}, grey{120, 120, 130}, faint{225, 225, 230};

/// RGB pixels, row by row from the top left; what is drawn outside is cut off.
class Picture {
 public:
  Picture(int width, int height) : image_{height, width, 3, {}} {
    image_.pixels.assign(3 * image_.extent().pixels(), 255);
  }
  int width() const { return image_.width; }
  int height() const { return image_.height; }

  void set(int x, int y, Colour colour) {
    if (x < 0 || y < 0 || x >= width() || y >= height()) return;
    std::uint8_t* const pixel = &image_.pixels[3 * (static_cast<std::size_t>(y) * static_cast<std::size_t>(width()) +
                                                    static_cast<std::size_t>(x))];
    pixel[0] = colour.red, pixel[1] = colour.green, pixel[2] = colour.blue;
  }
  void fill(int x, int y, int width, int height, Colour colour) {
    for (int row = y; row < y + height; ++row)
      for (int column = x; column < x + width; ++column) set(column, row, colour);
  }
  /// A line with a square pen.
  void line(double x0, double y0, double x1, double y1, int pen, Colour colour) {
    int const steps = std::max(1, static_cast<int>(std::ceil(std::max(std::abs(x1 - x0), std::abs(y1 - y0)))));
    for (int step = 0; step <= steps; ++step) {
      double const part = static_cast<double>(step) / steps;
      fill(static_cast<int>(std::lround(x0 + (x1 - x0) * part)) - pen / 2,
           static_cast<int>(std::lround(y0 + (y1 - y0) * part)) - pen / 2, pen, pen, colour);
    }
  }
  /// Text with its top left corner at (x, y); each font pixel is `scale` pixels wide.
  void text(int x, int y, std::string_view characters, Colour colour, int scale = 2) {
    for (char const character : characters) {
      Glyph const& glyph = glyph_of(character);
      int const top = y + descent_of(character) * scale;
      for (int row = 0; row < 7; ++row)
        for (int column = 0; column < 5; ++column)
          if ((glyph.rows[row] >> (4 - column) & 1) != 0)
            fill(x + column * scale, top + row * scale, scale, scale, colour);
      x += 6 * scale;
    }
  }
  static int text_width(std::string_view characters, int scale = 2) {
    return static_cast<int>(characters.size()) * 6 * scale;
  }
  /// An image of 1 or 3 channels, stretched to fill the box without blending.
  void image(mixprec::ImageWindow box, mixprec::Image const& from) {
    for (int row = 0; row < box.height; ++row) {
      for (int column = 0; column < box.width; ++column) {
        std::size_t const pixel =
            static_cast<std::size_t>(row * from.height / box.height) * static_cast<std::size_t>(from.width) +
            static_cast<std::size_t>(column * from.width / box.width);
        std::uint8_t const* const value = &from.pixels[pixel * static_cast<std::size_t>(from.channels)];
        set(box.left + column, box.top + row, {value[0], value[from.channels / 2], value[from.channels - 1]});
      }
    }
  }

  /// Writes the file whole or not at all. Errors: Error that names the file.
  void write_png(std::string const& path) const { mixprec::write_png(path, image_); }

 private:
  mixprec::Image image_;
};

}  // namespace support
