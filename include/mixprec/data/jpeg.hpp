// SPDX-License-Identifier: Apache-2.0
// JPEG files by libjpeg or libjpeg-turbo. What the library calls a warning (data that ends early, codes that make no
// sense, for which it makes up grey) is an error here: nobody wants to train on made-up pixels.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
// libjpeg's header needs FILE and size_t from the ones before it.
#include <jpeglib.h>

#include <cstring>
#include <string>
#include <vector>

#include <mixprec/data/decode_guard.hpp>
#include <mixprec/data/image.hpp>
#include <mixprec/io/file.hpp>

namespace mixprec::inline MIXPREC_ABI {

namespace detail {

/// One JPEG file in memory, on its way through libjpeg. Every failure is an Error that names the file.
class JpegDecoder {
 public:
  explicit JpegDecoder(std::string const& path)
      : path_(path), bytes_(read_whole_file(path, "JPEG", std::uint64_t{1} << 30)) {
    refuse_other_formats();
    jpeg_.err = jpeg_std_error(&errors_);
    jpeg_.client_data = this;
    errors_.error_exit = on_error;
    errors_.emit_message = on_message;
    if (!guard_.run([&] { jpeg_create_decompress(&jpeg_); })) {
      jpeg_destroy_decompress(&jpeg_);
      fail("libjpeg cannot start (" + guard_.problem() + ")", "Free some memory");
    }
  }
  JpegDecoder(JpegDecoder const&) = delete;
  JpegDecoder& operator=(JpegDecoder const&) = delete;
  ~JpegDecoder() { jpeg_destroy_decompress(&jpeg_); }

  Image image() {
    guarded([&] {
      jpeg_mem_src(&jpeg_, reinterpret_cast<unsigned char const*>(bytes_.data()),
                   static_cast<unsigned long>(bytes_.size()));
      jpeg_read_header(&jpeg_, TRUE);
    });
    ImageExtent const extent{static_cast<int>(jpeg_.image_height), static_cast<int>(jpeg_.image_width)};
    if (extent.pixels() > image_pixel_limit) {
      fail("is " + to_text(extent) + " pixels; the limit is " + std::to_string(image_pixel_limit), "Scale it down");
    }
    bool const grey = jpeg_.jpeg_color_space == JCS_GRAYSCALE;
    if (!grey && jpeg_.num_components != 3) {
      fail("has " + std::to_string(jpeg_.num_components) + " colour components, as for print", "Save it as RGB");
    }
    Image image{extent.height, extent.width, grey ? 1 : 3, {}};
    std::size_t const row_bytes = static_cast<std::size_t>(image.width) * static_cast<std::size_t>(image.channels);
    image.pixels.resize(row_bytes * static_cast<std::size_t>(image.height));
    guarded([&] {
      jpeg_.out_color_space = grey ? JCS_GRAYSCALE : JCS_RGB;
      jpeg_.dct_method = JDCT_ISLOW;  // the exact one
      jpeg_start_decompress(&jpeg_);
      while (jpeg_.output_scanline < jpeg_.output_height) {
        JSAMPROW row = image.pixels.data() + std::size_t{jpeg_.output_scanline} * row_bytes;
        jpeg_read_scanlines(&jpeg_, &row, 1);
      }
      jpeg_finish_decompress(&jpeg_);
    });
    return image;
  }

 private:
  static constexpr char const* damaged = "Fetch it again";

  [[noreturn]] void fail(std::string const& what, std::string const& remedy) const {
    fail_file("JPEG", path_, what, remedy);
  }

  void refuse_other_formats() const {
    auto const starts_with = [&](char const* signature, std::size_t size) {
      return bytes_.size() >= size && std::memcmp(bytes_.data(), signature, size) == 0;
    };
    if (starts_with("\xff\xd8\xff", 3)) return;
    if (bytes_.size() < 3) fail("is truncated: it holds " + std::to_string(bytes_.size()) + " bytes", damaged);
    fail(starts_with("\x89PNG", 4) ? "is a PNG file" : "is no JPEG file: it does not start with the bytes ff d8 ff",
         "Give a JPEG file, or name it for what it is");
  }

  [[noreturn]] static void leave(j_common_ptr jpeg) {
    char message[JMSG_LENGTH_MAX];
    jpeg->err->format_message(jpeg, message);
    static_cast<JpegDecoder*>(jpeg->client_data)->guard_.leave(message);
  }
  [[noreturn]] static void on_error(j_common_ptr jpeg) { leave(jpeg); }
  static void on_message(j_common_ptr jpeg, int level) {
    if (level < 0) leave(jpeg);  // below 0 are warnings, from 0 on progress
  }

  template <class Calls>
  void guarded(Calls const& calls) {
    if (!guard_.run(calls)) fail("is damaged (libjpeg: " + guard_.problem() + ")", damaged);
  }

  std::string path_;
  std::vector<std::byte> bytes_;
  DecodeGuard guard_;
  jpeg_error_mgr errors_{};
  jpeg_decompress_struct jpeg_{};
};

}  // namespace detail

/// An image: grey for grey files, RGB for the others. An orientation in the file's EXIF part is not applied.
/// Errors: a file that is absent, truncated, damaged, of another format, of more than `image_pixel_limit` pixels, or of
/// four colours (CMYK).
inline Image read_jpeg(std::string const& path) { return detail::JpegDecoder(path).image(); }

}  // namespace mixprec::inline MIXPREC_ABI
