// SPDX-License-Identifier: Apache-2.0
// A file as a stream of bytes, inflated on the way where it is gzip. zlib's own gzread accepts a damaged header as
// plain data and ignores bytes behind the stream; this reader refuses both.
#pragma once

#include <zlib.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>

#include <mixprec/io/file.hpp>

namespace mixprec::inline MIXPREC_ABI {

/// Reads a plain or gzip file (told apart by content; a name that ends in .gz must hold gzip) front to back.
/// `format` is the word that errors use. Memory: a fixed buffer, whatever the file claims.
class ByteSource {
 public:
  ByteSource(std::string const& path, std::string const& format) : file_(path, format) {
    refill();
    gzip_ = available_ >= 2 && buffer_[0] == std::byte{0x1f} && buffer_[1] == std::byte{0x8b};
    if (!gzip_ && path.ends_with(".gz")) {
      fail("is not gzip: it does not start with the bytes 1f 8b", "Fetch it again, or rename it if it is plain data");
    }
    if (gzip_ && inflateInit2(&stream_, 15 + gzip_only) != Z_OK) fail("zlib cannot start", "Free some memory");
  }
  ByteSource(ByteSource const&) = delete;
  ByteSource& operator=(ByteSource const&) = delete;
  ~ByteSource() {
    if (gzip_) inflateEnd(&stream_);
  }

  /// Fills `out`; returns fewer bytes only at the end of the content. Asking for one byte more than the content also
  /// verifies gzip's checksum and length. Errors: damaged or truncated gzip, bytes behind it.
  std::size_t read(std::span<std::uint8_t> out) { return gzip_ ? read_inflated(out) : read_plain(out); }

  [[noreturn]] void fail(std::string const& what, std::string const& remedy) const { file_.fail(what, remedy); }

 private:
  static constexpr int gzip_only = 16;  // zlib's flag in the window bits: gzip, neither zlib nor raw

  void refill() {
    position_ = 0;
    available_ = file_.read(buffer_);
    at_end_ = available_ < buffer_.size();
  }

  std::size_t read_plain(std::span<std::uint8_t> out) {
    std::size_t done = 0;
    while (done < out.size()) {
      if (available_ == 0) {
        if (at_end_) break;
        refill();
        continue;
      }
      std::size_t const step = std::min(available_, out.size() - done);
      std::memcpy(out.data() + done, buffer_.data() + position_, step);
      done += step;
      position_ += step;
      available_ -= step;
    }
    return done;
  }

  std::size_t read_inflated(std::span<std::uint8_t> out) {
    std::size_t done = 0;
    while (done < out.size() && !finished_) {
      if (available_ == 0 && !at_end_) refill();
      std::size_t const room = std::min(out.size() - done, detail::largest_transfer);
      stream_.next_in = reinterpret_cast<Bytef*>(buffer_.data() + position_);
      stream_.avail_in = static_cast<uInt>(available_);
      stream_.next_out = out.data() + done;
      stream_.avail_out = static_cast<uInt>(room);
      int const status = inflate(&stream_, Z_NO_FLUSH);
      position_ += available_ - stream_.avail_in;
      available_ = stream_.avail_in;
      done += room - stream_.avail_out;
      if (status == Z_STREAM_END) {
        if (available_ == 0 && !at_end_) refill();
        // A gzip file may be several streams one after the other; anything else behind a stream is damage.
        if (available_ == 0) {
          finished_ = true;
        } else {
          inflateReset(&stream_);
        }
      } else if (status == Z_BUF_ERROR && available_ == 0) {
        fail("is truncated: gzip ends after " + std::to_string(file_.size()) + " bytes, before its checksum",
             "Fetch it again");
      } else if (status != Z_OK) {
        std::string const reason = stream_.msg != nullptr ? stream_.msg : "status " + std::to_string(status);
        fail("is damaged gzip (zlib: " + reason + ")", "Fetch it again");
      }
    }
    return done;
  }

  InputFile file_;
  std::array<std::byte, 32768> buffer_;
  std::size_t position_ = 0, available_ = 0;
  bool at_end_ = false, gzip_ = false, finished_ = false;
  z_stream stream_{};
};

}  // namespace mixprec::inline MIXPREC_ABI
