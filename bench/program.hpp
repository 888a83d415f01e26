// SPDX-License-Identifier: Apache-2.0
// What the benchmark programs share: `--name value` arguments, JSON lines, medians and a guarded main, without another
// dependency.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <iostream>
#include <map>
#include <numeric>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace bench {

/// `--name value` pairs; a name that is last or stands before another name has the value "1".
class Arguments {
 public:
  Arguments(int argc, char** argv) {
    for (int at = 1; at < argc; ++at) {
      std::string_view const word = argv[at];
      if (!word.starts_with("--")) throw std::runtime_error("\"" + std::string(word) + "\" has no --name before it.");
      bool const has_value = at + 1 < argc && !std::string_view(argv[at + 1]).starts_with("--");
      given_[std::string(word.substr(2))] = has_value ? argv[++at] : "1";
    }
  }

  std::string text(std::string const& name, std::string const& otherwise) {
    if (std::find(known_.begin(), known_.end(), name) == known_.end()) known_.push_back(name);
    auto const at = given_.find(name);
    return at == given_.end() ? otherwise : at->second;
  }
  /// Errors: runtime_error with the name and what was given, where that is no number of at least `least`.
  std::int64_t number(std::string const& name, std::int64_t otherwise, std::int64_t least = 0) {
    std::string const value = text(name, std::to_string(otherwise));
    std::size_t used = 0;
    std::int64_t result = 0;
    try {
      result = std::stoll(value, &used);
    } catch (std::exception const&) {
    }
    if (used != value.size() || result < least) {
      throw std::runtime_error("--" + name + " is " + value + ". Use a whole number of at least " +
                               std::to_string(least) + ".");
    }
    return result;
  }
  /// Call it after the last question. Errors: runtime_error for a name that nothing has asked for.
  void refuse_others() const {
    for (auto const& [name, value] : given_) {
      if (std::find(known_.begin(), known_.end(), name) != known_.end()) continue;
      std::string message = "there is no argument --" + name + ". Known:";
      for (std::string const& known : known_) message += " --" + known;
      throw std::runtime_error(message);
    }
  }

 private:
  std::map<std::string, std::string> given_;
  std::vector<std::string> known_;
};

/// One JSON object on one line, its members in the order in which they are added.
class JsonLine {
 public:
  JsonLine& add(std::string_view name, std::string_view value) {
    std::string quoted = "\"";
    for (char const character : value) {
      if (character == '"' || character == '\\') quoted += '\\';
      quoted += static_cast<unsigned char>(character) < ' ' ? ' ' : character;
    }
    return member(name, quoted + '"');
  }
  JsonLine& add(std::string_view name, std::int64_t value) { return member(name, std::to_string(value)); }
  /// Infinity and NaN, which JSON does not have, become null.
  JsonLine& add(std::string_view name, double value, int decimals) {
    char text[64];
    std::snprintf(text, sizeof text, "%.*f", decimals, value);
    return member(name, value - value == 0 ? text : "null");
  }
  JsonLine& null(std::string_view name) { return member(name, "null"); }
  std::string text() const { return "{" + members_ + "}"; }

 private:
  JsonLine& member(std::string_view name, std::string_view value) {
    if (!members_.empty()) members_ += ", ";
    members_.append("\"").append(name).append("\": ").append(value);
    return *this;
  }
  std::string members_;
};

/// Requires: `values` is not empty.
inline double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  std::size_t const middle = values.size() / 2;
  return values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}
inline double mean(std::vector<double> const& values) {
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

/// Runs a program's main function and prints what it throws. Returns the exit status.
template <class Main>
int guarded(char const* name, Main&& main) {
  try {
    main();
  } catch (std::exception const& error) {
    std::cerr << name << ": " << error.what() << "\n";
    return 1;
  }
  return 0;
}

}  // namespace bench
