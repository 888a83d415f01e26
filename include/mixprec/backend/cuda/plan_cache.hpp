// SPDX-License-Identifier: Apache-2.0
// Remembers on disk which engine of cuDNN's or kernel of ours won a tuning, so that the next process does not tune
// again. Knows no cuDNN.
#pragma once

#include <cstdint>
#include <cstdio>   // std::FILE, std::rename
#include <cstdlib>  // std::getenv, std::strtoll
#include <map>
#include <string>
#include <utility>  // std::pair
#include <vector>

#include <sys/stat.h>  // mkdir
#include <unistd.h>    // getpid

#include <mixprec/config.hpp>

namespace mixprec::inline MIXPREC_ABI::cuda {

/// One way to run an operation: an engine of cuDNN and the values of its knobs, in cuDNN's numbering.
struct EngineChoice {
  std::int64_t engine = 0;
  std::vector<std::pair<std::int64_t, std::int64_t>> knobs;  // type, value
  bool operator==(EngineChoice const&) const = default;
};

/// A text file of tuned choices, one line each: key, tab, engine, tab, "type:value" pairs. The file is only ever
/// replaced as a whole, by rename, so that a reader never sees half of it. Lines that do not parse are ignored. Nothing
/// here throws for what is on disk: without a usable directory it simply remembers nothing.
class PlanCache {
 public:
  /// Uses MIXPREC_CACHE_DIR, else $XDG_CACHE_HOME/mixprec, else ~/.cache/mixprec.
  PlanCache() : PlanCache(default_directory()) {}
  explicit PlanCache(std::string directory) : directory_(std::move(directory)) {
    if (!directory_.empty()) entries_ = read();
  }

  /// The choice stored under `key`, or nullptr. `key` holds no tab and no line break.
  EngineChoice const* find(std::string const& key) const {
    auto const at = entries_.find(key);
    return at == entries_.end() ? nullptr : &at->second;
  }

  /// Stores a choice; lines that other processes wrote in the meantime are kept.
  void store(std::string const& key, EngineChoice const& choice) {
    entries_[key] = choice;
    if (directory_.empty()) return;
    make_directories();
    Entries merged = read();
    for (auto const& [other, value] : entries_) merged[other] = value;
    entries_ = merged;
    write();
  }

  std::string path() const { return directory_ + "/conv2d_plans.txt"; }

 private:
  using Entries = std::map<std::string, EngineChoice>;

  static std::string default_directory() {
    auto const variable = [](char const* name) {
      char const* const value = std::getenv(name);
      return std::string(value == nullptr ? "" : value);
    };
    if (std::string const own = variable("MIXPREC_CACHE_DIR"); !own.empty()) return own;
    if (std::string const xdg = variable("XDG_CACHE_HOME"); !xdg.empty()) return xdg + "/mixprec";
    if (std::string const home = variable("HOME"); !home.empty()) return home + "/.cache/mixprec";
    return "";
  }

  void make_directories() const {
    for (std::size_t at = 1; at <= directory_.size(); ++at) {
      if (at == directory_.size() || directory_[at] == '/') mkdir(directory_.substr(0, at).c_str(), 0777);
    }
  }

  // One number, or false; `at` moves behind it.
  static bool parse(char const*& at, std::int64_t& value) {
    char* end = nullptr;
    value = std::strtoll(at, &end, 10);
    if (end == at) return false;
    at = end;
    return true;
  }

  static bool parse(std::string const& text, EngineChoice& choice) {
    char const* at = text.c_str();
    if (!parse(at, choice.engine) || *at != '\t') return false;
    ++at;
    while (*at != '.') {
      std::int64_t type = 0, value = 0;
      if (!parse(at, type) || *at != ':') return false;
      ++at;
      if (!parse(at, value) || *at != ' ') return false;
      ++at;
      choice.knobs.emplace_back(type, value);
    }
    return at[1] == '\0';  // the full stop proves that the line is whole
  }

  Entries read() const {
    Entries entries;
    std::FILE* const file = std::fopen(path().c_str(), "r");
    if (file == nullptr) return entries;
    std::string line;
    for (int character = std::fgetc(file); character != EOF; character = std::fgetc(file)) {
      if (character != '\n') {
        line.push_back(static_cast<char>(character));
        continue;
      }
      std::size_t const tab = line.find('\t');
      EngineChoice choice;
      if (tab != std::string::npos && parse(line.substr(tab + 1), choice)) entries[line.substr(0, tab)] = choice;
      line.clear();
    }
    std::fclose(file);
    return entries;
  }

  void write() const {
    std::string text;
    for (auto const& [key, choice] : entries_) {
      text += key + '\t' + std::to_string(choice.engine) + '\t';
      for (auto const& [type, value] : choice.knobs) text += std::to_string(type) + ':' + std::to_string(value) + ' ';
      text += ".\n";
    }
    std::string const temporary = path() + '.' + std::to_string(getpid());
    std::FILE* const file = std::fopen(temporary.c_str(), "w");
    if (file == nullptr) return;
    bool const written = std::fwrite(text.data(), 1, text.size(), file) == text.size();
    bool const closed = std::fclose(file) == 0;
    if (!written || !closed || std::rename(temporary.c_str(), path().c_str()) != 0) std::remove(temporary.c_str());
  }

  std::string directory_;
  Entries entries_;
};

}  // namespace mixprec::inline MIXPREC_ABI::cuda
