// SPDX-License-Identifier: Apache-2.0
// Files as readers and writers of formats need them: every failure names the file, and a written file appears whole
// or not at all.
#pragma once

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <mixprec/error.hpp>

namespace mixprec::inline MIXPREC_ABI {

namespace detail {

/// Throws "<format> file '<path>': <what>. <remedy>."
[[noreturn]] inline void fail_file(std::string const& format, std::string const& path, std::string const& what,
                                   std::string const& remedy) {
  throw Error(format + " file '" + path + "': " + what + ". " + remedy + ".");
}

inline std::string errno_text(int number) { return std::generic_category().message(number); }

// A kernel takes at most 2 GiB - 4 KiB in one read or write; larger requests are cut.
inline constexpr std::size_t largest_transfer = std::size_t{1} << 30;

}  // namespace detail

/// A regular file open for reading. `format` is the word that errors use ("IDX", "safetensors").
/// Errors: a path that cannot be opened, or that is no regular file.
class InputFile {
 public:
  InputFile(std::string path, std::string format) : path_(std::move(path)), format_(std::move(format)) {
    // O_NONBLOCK keeps a named pipe from blocking the open; for a regular file it changes nothing.
    descriptor_ = ::open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (descriptor_ < 0) fail("cannot be opened (" + detail::errno_text(errno) + ")", "Check the path");
    struct stat status {};
    bool const regular = ::fstat(descriptor_, &status) == 0 && S_ISREG(status.st_mode);
    if (!regular) {
      ::close(descriptor_);
      fail("is not a regular file", "Give the path of a file");
    }
    size_ = static_cast<std::uint64_t>(status.st_size);
  }
  InputFile(InputFile const&) = delete;
  InputFile& operator=(InputFile const&) = delete;
  ~InputFile() { ::close(descriptor_); }

  std::string const& path() const { return path_; }
  /// Bytes that the file held when it was opened.
  std::uint64_t size() const { return size_; }

  /// Fills `out` from the current position; returns fewer bytes only at the end of the file.
  std::size_t read(std::span<std::byte> out) {
    std::size_t done = 0;
    while (done < out.size()) {
      auto const got = ::read(descriptor_, out.data() + done, std::min(out.size() - done, detail::largest_transfer));
      if (got == 0) break;
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) fail("cannot be read (" + detail::errno_text(errno) + ")", "Check the disk");
      done += static_cast<std::size_t>(got);
    }
    return done;
  }

  [[noreturn]] void fail(std::string const& what, std::string const& remedy) const {
    detail::fail_file(format_, path_, what, remedy);
  }

 private:
  std::string path_, format_;
  int descriptor_ = -1;
  std::uint64_t size_ = 0;
};

/// All bytes of a regular file; memory and time are bounded by `limit`, in bytes.
/// Errors: those of InputFile; a larger file; one that shrinks while it is read.
inline std::vector<std::byte> read_whole_file(std::string const& path, std::string const& format, std::uint64_t limit) {
  InputFile file(path, format);
  if (file.size() > limit) {
    file.fail("holds " + std::to_string(file.size()) + " bytes, more than the " + std::to_string(limit) + " allowed",
              "Check that it is the right file");
  }
  std::vector<std::byte> bytes(static_cast<std::size_t>(file.size()));
  if (file.read(bytes) != bytes.size()) file.fail("became shorter while it was read", "Read it again");
  return bytes;
}

/// A file that is written beside its final name and takes that name in `commit`, so that a reader, a full disk or a
/// killed process never meets half of it. Without `commit` the destructor removes what was written; what a killed
/// process has left is removed by the next AtomicFile of the same name.
/// Errors: whatever the system refuses, with the file's final name.
class AtomicFile {
 public:
  AtomicFile(std::string path, std::string format) : path_(std::move(path)), format_(std::move(format)) {
    struct stat there;
    if (::stat(path_.c_str(), &there) == 0 && !S_ISREG(there.st_mode)) {
      fail("exists and is not a regular file", "Name a file; a directory or device is never replaced");
    }
    remove_abandoned();
    // A process on another machine may have this one's number: try the next name then.
    static std::atomic<unsigned> serial{0};
    for (int attempt = 0; attempt < 100 && descriptor_ < 0; ++attempt) {
      temporary_ = path_ + infix + std::to_string(::getpid()) + "-" + std::to_string(serial++);
      descriptor_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
      if (descriptor_ < 0 && errno != EEXIST) break;
      if (descriptor_ >= 0 && !lock()) ::close(std::exchange(descriptor_, -1));
    }
    if (descriptor_ < 0) {
      fail("cannot be created (" + detail::errno_text(errno) + ")", "Check that the directory exists and is writable");
    }
  }
  AtomicFile(AtomicFile const&) = delete;
  AtomicFile& operator=(AtomicFile const&) = delete;
  ~AtomicFile() {
    if (descriptor_ >= 0) ::close(descriptor_);
    if (!committed_) ::unlink(temporary_.c_str());
  }

  void write(std::span<std::byte const> bytes) {
    std::size_t done = 0;
    while (done < bytes.size()) {
      auto const put =
          ::write(descriptor_, bytes.data() + done, std::min(bytes.size() - done, detail::largest_transfer));
      if (put < 0 && errno == EINTR) continue;
      if (put <= 0) fail("cannot be written (" + detail::errno_text(errno) + ")", "Check the space on the disk");
      done += static_cast<std::size_t>(put);
    }
  }

  /// Puts everything on the disk, then gives the file its name. Call it once, last. Sync: waits for the disk.
  void commit() {
    if (::fsync(descriptor_) != 0) {
      fail("cannot be flushed (" + detail::errno_text(errno) + ")", "Check the space on the disk");
    }
    if (std::rename(temporary_.c_str(), path_.c_str()) != 0) {
      fail("cannot be renamed from '" + temporary_ + "' (" + detail::errno_text(errno) + ")",
           "Check that the name is not a directory's");
    }
    committed_ = true;
    // Only now: the lock that ends with it has kept others from taking the temporary file for an abandoned one. What
    // close could still report, fsync has reported.
    ::close(std::exchange(descriptor_, -1));
    // The new name itself is on the disk only once the directory is. Some file systems refuse this, and the file is
    // whole either way, so a failure here is not an error.
    int const handle = ::open(directory().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (handle >= 0) {
      ::fsync(handle);
      ::close(handle);
    }
  }

 private:
  static constexpr char const* infix = ".mixprec-tmp-";

  std::string directory() const {
    auto const slash = path_.rfind('/');
    return slash == std::string::npos ? "." : path_.substr(0, slash + 1);
  }

  // A temporary file is locked as long as its writer lives; the system ends the lock with the process. False where
  // another one has just taken the file for abandoned. File systems without locks go on without them.
  bool lock() const {
    if (::flock(descriptor_, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) return false;
    struct stat status {};
    return ::fstat(descriptor_, &status) == 0 && status.st_nlink > 0;
  }

  // What stands behind the infix: two numbers.
  static bool is_own(std::string_view tail) {
    auto const dash = tail.find('-');
    auto const number = [](std::string_view text) {
      return !text.empty() && text.find_first_not_of("0123456789") == text.npos;
    };
    return dash != tail.npos && number(tail.substr(0, dash)) && number(tail.substr(dash + 1));
  }

  // Removes the temporary files of this name that no living process has locked.
  void remove_abandoned() const {
    std::string const folder = directory();
    auto const slash = path_.rfind('/');
    std::string const start = (slash == std::string::npos ? path_ : path_.substr(slash + 1)) + infix;
    DIR* const entries = ::opendir(folder.c_str());
    if (entries == nullptr) return;  // creating the file will say why
    while (dirent const* const entry = ::readdir(entries)) {
      std::string_view const name = entry->d_name;
      if (!name.starts_with(start) || !is_own(name.substr(start.size()))) continue;
      int const other = ::openat(::dirfd(entries), entry->d_name, O_RDWR | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW);
      if (other < 0) continue;
      if (::flock(other, LOCK_EX | LOCK_NB) == 0) ::unlinkat(::dirfd(entries), entry->d_name, 0);
      ::close(other);
    }
    ::closedir(entries);
  }

  [[noreturn]] void fail(std::string const& what, std::string const& remedy) {
    // A constructor that throws runs no destructor, and removing twice does no harm.
    if (descriptor_ >= 0) ::close(std::exchange(descriptor_, -1));
    ::unlink(temporary_.c_str());
    detail::fail_file(format_, path_, what, remedy);
  }

  std::string path_, format_, temporary_;
  int descriptor_ = -1;
  bool committed_ = false;
};

}  // namespace mixprec::inline MIXPREC_ABI
