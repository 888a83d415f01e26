// SPDX-License-Identifier: Apache-2.0
// PNG and JPEG files of every kind, made by libpng and libjpeg themselves. The tests' encoders never fail.
#pragma once

#include <png.h>

#include <jpeglib.h>
#include <cstddef>
#include <cstdint>
#include <cstdio>

#include <cstdlib>
#include <random>
#include <string>
#include <vector>

struct PngKind {
  int colour_type = PNG_COLOR_TYPE_RGB, bit_depth = 8;
  bool interlaced = false;
  std::vector<png_color> palette = {};
};

/// A PNG file of `rows`, each of them packed as the kind has it.
inline std::string encode_png(int width, std::vector<std::string> rows, PngKind const& kind) {
  std::string out;
  png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, nullptr, nullptr, nullptr);
  png_infop info = png_create_info_struct(png);
  auto const append = [](png_structp to, png_bytep data, std::size_t size) {
    static_cast<std::string*>(png_get_io_ptr(to))->append(reinterpret_cast<char const*>(data), size);
  };
  png_set_write_fn(png, &out, append, nullptr);
  png_set_IHDR(png, info, static_cast<png_uint_32>(width), static_cast<png_uint_32>(rows.size()), kind.bit_depth,
               kind.colour_type, kind.interlaced ? PNG_INTERLACE_ADAM7 : PNG_INTERLACE_NONE,
               PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
  if (!kind.palette.empty()) png_set_PLTE(png, info, kind.palette.data(), static_cast<int>(kind.palette.size()));
  png_write_info(png, info);
  std::vector<png_bytep> pointers;
  for (auto& row : rows) pointers.push_back(reinterpret_cast<png_bytep>(row.data()));
  png_write_image(png, pointers.data());
  png_write_end(png, info);
  png_destroy_write_struct(&png, &info);
  return out;
}

/// The rows of values 0 to 2^bits - 1, packed.
inline std::vector<std::string> packed(std::vector<std::uint8_t> const& values, int width, int bits) {
  std::vector<std::string> rows;
  for (std::size_t at = 0; at < values.size(); at += static_cast<std::size_t>(width)) {
    std::string row((static_cast<std::size_t>(width * bits) + 7) / 8, '\0');
    for (int x = 0; x < width; ++x) {
      int const bit = x * bits, value = values[at + static_cast<std::size_t>(x)] << (8 - bits - bit % 8);
      row[static_cast<std::size_t>(bit / 8)] = static_cast<char>(row[static_cast<std::size_t>(bit / 8)] | value);
    }
    rows.push_back(row);
  }
  return rows;
}

struct JpegKind {
  int quality = 95;
  bool progressive = false;
  int components = 3;  // 1 is grey, 3 RGB, 4 CMYK
  int subsampling = 1;
};

inline std::string encode_jpeg(int height, int width, std::vector<std::uint8_t> pixels, JpegKind const& kind) {
  jpeg_compress_struct jpeg{};
  jpeg_error_mgr errors{};
  jpeg.err = jpeg_std_error(&errors);
  jpeg_create_compress(&jpeg);
  unsigned char* memory = nullptr;
  unsigned long size = 0;
  jpeg_mem_dest(&jpeg, &memory, &size);
  jpeg.image_width = static_cast<JDIMENSION>(width);
  jpeg.image_height = static_cast<JDIMENSION>(height);
  jpeg.input_components = kind.components;
  jpeg.in_color_space = kind.components == 1 ? JCS_GRAYSCALE : kind.components == 3 ? JCS_RGB : JCS_CMYK;
  jpeg_set_defaults(&jpeg);
  jpeg_set_quality(&jpeg, kind.quality, TRUE);
  jpeg.comp_info[0].h_samp_factor = jpeg.comp_info[0].v_samp_factor = kind.subsampling;
  if (kind.progressive) jpeg_simple_progression(&jpeg);
  jpeg_start_compress(&jpeg, TRUE);
  while (jpeg.next_scanline < jpeg.image_height) {
    JSAMPROW row = pixels.data() + std::size_t{jpeg.next_scanline} * static_cast<std::size_t>(width * kind.components);
    jpeg_write_scanlines(&jpeg, &row, 1);
  }
  jpeg_finish_compress(&jpeg);
  jpeg_destroy_compress(&jpeg);
  std::string const out(reinterpret_cast<char const*>(memory), size);
  std::free(memory);
  return out;
}

inline std::vector<std::uint8_t> random_values(std::size_t count, int bound, unsigned seed = 20250117) {
  std::mt19937 random(seed);
  std::vector<std::uint8_t> values(count);
  for (auto& value : values) value = static_cast<std::uint8_t>(random() % static_cast<unsigned>(bound));
  return values;
}
