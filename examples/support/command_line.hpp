// SPDX-License-Identifier: Apache-2.0
// What the examples' command lines share: checks of single values, and how a wrong line ends the program.
#pragma once

#include <CLI/CLI.hpp>
#include <cmath>
#include <cstdio>
#include <string>

namespace support {

/// Refuses a combination of options that are fine one by one.
[[noreturn]] inline void refuse(std::string const& sentence) { throw CLI::ValidationError(sentence); }

inline CLI::Validator positive_number() {
  return {[](std::string const& text) {
            double value = 0;
            bool const number = CLI::detail::lexical_cast(text, value);
            return number && std::isfinite(value) && value > 0 ? "" : "'" + text + "' is not a number above 0";
          },
          "NUMBER"};
}

/// CLI11 would read -1 as the largest number.
inline CLI::Validator whole_number() {
  return {[](std::string const& text) {
            bool const digits = text.find_first_not_of("0123456789") == std::string::npos;
            return digits && !text.empty() && text.size() < 20 ? ""
                                                               : "'" + text + "' is not a whole number below 10^19";
          },
          "NUMBER"};
}

/// Parses, then calls `complete`, which may refuse. False where the program has to end with `exit_code`: 0 after --help
/// or --version, 2 after one sentence on standard error.
template <class Complete>
bool parse(CLI::App& app, std::string const& program, int argc, char const* const* argv, int& exit_code,
           Complete const& complete) {
  try {
    app.parse(argc, argv);
    complete();
    return true;
  } catch (CLI::CallForHelp const&) {
    std::fputs(app.help().c_str(), stdout);
    exit_code = 0;
  } catch (CLI::CallForVersion const& version) {
    std::printf("%s\n", version.what());
    exit_code = 0;
  } catch (CLI::Error const& error) {
    std::fprintf(stderr, "%s: %s. See --help.\n", program.c_str(), error.what());
    exit_code = 2;
  }
  return false;
}

}  // namespace support
