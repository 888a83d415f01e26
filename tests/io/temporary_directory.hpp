// SPDX-License-Identifier: Apache-2.0
// A directory of one test's files, and whole-file helpers that share no code with the readers under test.
#pragma once

#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string>

class TemporaryDirectory {
 public:
  TemporaryDirectory() {
    path_ = (std::filesystem::temp_directory_path() / "mixprec-test-XXXXXX").string();
    if (::mkdtemp(path_.data()) == nullptr) throw std::runtime_error("no temporary directory");
  }
  TemporaryDirectory(TemporaryDirectory const&) = delete;
  TemporaryDirectory& operator=(TemporaryDirectory const&) = delete;
  ~TemporaryDirectory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }

  std::string operator/(std::string const& name) const { return path_ + "/" + name; }

  /// Writes a file and returns its path.
  std::string put(std::string const& name, std::string const& content) const {
    std::ofstream file(*this / name, std::ios::binary | std::ios::trunc);
    file << content;
    if (!file.flush()) throw std::runtime_error("cannot write " + name);
    return *this / name;
  }

  std::ptrdiff_t count() const {
    return std::distance(std::filesystem::directory_iterator(path_), std::filesystem::directory_iterator());
  }

 private:
  std::string path_;
};

inline std::string whole_file(std::string const& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

/// The message of the Error that `call` throws; empty where it throws none.
template <class Exception, class Call>
std::string message_of(Call const& call) {
  try {
    call();
  } catch (Exception const& error) {
    return error.what();
  }
  return {};
}
