// SPDX-License-Identifier: Apache-2.0
// PNG files by libpng: images, label maps, and images written whole or not at all.
#pragma once

#include <png.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <mixprec/data/decode_guard.hpp>
#include <mixprec/data/image.hpp>
#include <mixprec/io/file.hpp>

namespace mixprec::inline MIXPREC_ABI {

namespace detail {

/// One PNG file in memory, on its way through libpng. Every failure is an Error that names the file.
class PngDecoder {
 public:
  explicit PngDecoder(std::string const& path)
      : path_(path), bytes_(read_whole_file(path, "PNG", std::uint64_t{1} << 30)) {
    refuse_other_formats();
    guarded([&] {
      png_ = png_create_read_struct(PNG_LIBPNG_VER_STRING, this, on_error, on_warning);
      if (png_ != nullptr) info_ = png_create_info_struct(png_);
    });
    if (info_ == nullptr) {
      png_destroy_read_struct(&png_, nullptr, nullptr);
      fail("libpng cannot start", "Free some memory");
    }
  }
  PngDecoder(PngDecoder const&) = delete;
  PngDecoder& operator=(PngDecoder const&) = delete;
  ~PngDecoder() { png_destroy_read_struct(&png_, &info_, nullptr); }

  /// Grey for grey files, RGB for the others; palettes become colours, 16 bits the upper 8, alpha is dropped.
  Image image() {
    read_header();
    guarded([&] {
      png_set_expand(png_);
      png_set_scale_16(png_);
      png_set_strip_alpha(png_);
    });
    int const channels = (colour_type_ & PNG_COLOR_MASK_COLOR) != 0 ? 3 : 1;
    return {extent_.height, extent_.width, channels, rows(channels)};
  }

  /// The numbers as the file holds them: a palette's indices, grey values unscaled.
  LabelMap labels() {
    read_header();
    if (colour_type_ != PNG_COLOR_TYPE_PALETTE && colour_type_ != PNG_COLOR_TYPE_GRAY) {
      fail("holds colours or alpha, and labels are numbers", "Give a grey or palette PNG whose values are the labels");
    }
    if (bit_depth_ == 16) fail("holds 16-bit labels", "Give labels of at most 8 bits");
    guarded([&] { png_set_packing(png_); });
    return {extent_.height, extent_.width, rows(1)};
  }

 private:
  static constexpr char const* damaged = "Fetch it again";

  [[noreturn]] void fail(std::string const& what, std::string const& remedy) const {
    fail_file("PNG", path_, what, remedy);
  }

  void refuse_other_formats() const {
    auto const starts_with = [&](std::string_view signature) {
      return bytes_.size() >= signature.size() && std::memcmp(bytes_.data(), signature.data(), signature.size()) == 0;
    };
    if (starts_with("\x89PNG\r\n\x1a\n")) return;
    if (bytes_.size() < 8) fail("is truncated: it holds " + std::to_string(bytes_.size()) + " bytes", damaged);
    fail(starts_with("\xff\xd8\xff") ? "is a JPEG file" : "is no PNG file: it does not start with PNG's signature",
         "Give a PNG file, or name it for what it is");
  }

  static PngDecoder& self(png_voidp pointer) { return *static_cast<PngDecoder*>(pointer); }

  [[noreturn]] static void on_error(png_structp png, png_const_charp message) {
    self(png_get_error_ptr(png)).guard_.leave(message);
  }

  static void on_warning(png_structp, png_const_charp) {}  // about parts that are not pixels

  static void on_read(png_structp png, png_bytep out, std::size_t count) {
    PngDecoder& decoder = self(png_get_io_ptr(png));
    if (decoder.bytes_.size() - decoder.position_ < count) png_error(png, "the file ends early");
    std::memcpy(out, decoder.bytes_.data() + decoder.position_, count);
    decoder.position_ += count;
  }

  template <class Calls>
  void guarded(Calls const& calls) {
    if (!guard_.run(calls)) fail("is damaged (libpng: " + guard_.problem() + ")", damaged);
  }

  void read_header() {
    guarded([&] {
      png_set_read_fn(png_, this, on_read);
      png_read_info(png_, info_);
      extent_ = {static_cast<int>(png_get_image_height(png_, info_)),
                 static_cast<int>(png_get_image_width(png_, info_))};
      bit_depth_ = png_get_bit_depth(png_, info_);
      colour_type_ = png_get_color_type(png_, info_);
    });
    if (extent_.pixels() > image_pixel_limit) {
      fail("is " + to_text(extent_) + " pixels; the limit is " + std::to_string(image_pixel_limit), "Scale it down");
    }
    // Deflate unfolds no byte to more than 1032: a larger claim is damage, known before memory is taken for it.
    if (png_get_rowbytes(png_, info_) * static_cast<std::size_t>(extent_.height) > 1032 * bytes_.size()) {
      fail("is damaged: its " + std::to_string(bytes_.size()) + " bytes cannot hold the " + to_text(extent_) +
               " pixels that it claims",
           damaged);
    }
  }

  // All rows after the transformations that were asked for, `channels` bytes a pixel.
  std::vector<std::uint8_t> rows(int channels) {
    int passes = 0;
    std::size_t row_bytes = 0;
    guarded([&] {
      passes = png_set_interlace_handling(png_);
      png_read_update_info(png_, info_);
      row_bytes = png_get_rowbytes(png_, info_);
    });
    if (row_bytes != static_cast<std::size_t>(extent_.width) * static_cast<std::size_t>(channels)) {
      fail("has rows of " + std::to_string(row_bytes) + " bytes", "Save it as 8-bit grey or RGB");
    }
    std::vector<std::uint8_t> pixels(row_bytes * static_cast<std::size_t>(extent_.height));
    guarded([&] {
      for (int pass = 0; pass < passes; ++pass) {
        for (int row = 0; row < extent_.height; ++row) {
          png_read_row(png_, pixels.data() + static_cast<std::size_t>(row) * row_bytes, nullptr);
        }
      }
      png_read_end(png_, nullptr);
    });
    return pixels;
  }

  std::string path_;
  std::vector<std::byte> bytes_;
  std::size_t position_ = 0;
  DecodeGuard guard_;
  png_structp png_ = nullptr;
  png_infop info_ = nullptr;
  ImageExtent extent_;
  int bit_depth_ = 0, colour_type_ = 0;
};

}  // namespace detail

/// An image: grey for grey files, RGB for the others. Palettes become colours, 16 bits are scaled to 8, alpha is
/// dropped. Errors: a file that is absent, truncated, damaged, of another format, or of more than `image_pixel_limit`
/// pixels.
inline Image read_png(std::string const& path) { return detail::PngDecoder(path).image(); }

/// A label map: the indices of a palette PNG, the values of a grey one, as they are stored.
/// Errors: as `read_png`; colours, alpha, 16 bits.
inline LabelMap read_png_labels(std::string const& path) { return detail::PngDecoder(path).labels(); }

/// Writes the file whole or not at all. Errors: what the system refuses; an image whose fields disagree.
inline void write_png(std::string const& path, Image const& image) {
  bool const sensible = image.height > 0 && image.width > 0 && (image.channels == 1 || image.channels == 3) &&
                        image.pixels.size() == image.extent().pixels() * static_cast<std::size_t>(image.channels);
  if (!sensible) {
    detail::fail_file("PNG", path,
                      std::to_string(image.pixels.size()) + " bytes are no " + to_text(image.extent()) + " image of " +
                          std::to_string(image.channels) + " channels",
                      "Give 1 or 3 bytes for every pixel");
  }
  png_image header{};
  header.version = PNG_IMAGE_VERSION;
  header.width = static_cast<png_uint_32>(image.width);
  header.height = static_cast<png_uint_32>(image.height);
  header.format = image.channels == 3 ? PNG_FORMAT_RGB : PNG_FORMAT_GRAY;
  png_alloc_size_t size = 0;
  std::vector<std::byte> file;
  bool good = png_image_write_to_memory(&header, nullptr, &size, 0, image.pixels.data(), 0, nullptr) != 0;
  if (good) {
    file.resize(size);
    good = png_image_write_to_memory(&header, file.data(), &size, 0, image.pixels.data(), 0, nullptr) != 0;
  }
  if (!good) detail::fail_file("PNG", path, std::string("libpng: ") + header.message, "Check the free memory");
  AtomicFile out(path, "PNG");
  out.write(std::span(file).first(size));
  out.commit();
}

}  // namespace mixprec::inline MIXPREC_ABI
