// SPDX-License-Identifier: Apache-2.0
// The networks that object files bring to a segmentation benchmark, and its main function.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "../program.hpp"

namespace bench {

/// One network under one policy; `run` asks for its arguments, refuses others, and measures.
struct Subject {
  char const* model;
  std::int64_t depth;
  char const* policy;
  void (*run)(Arguments& arguments);
};

/// All that are linked; each object file adds its own before main begins.
inline std::vector<Subject>& subjects() {
  static std::vector<Subject> all;
  return all;
}
inline bool add_subject(Subject const& subject) {
  subjects().push_back(subject);
  return true;
}

/// Runs what --model, --depth and --policy name.
inline void run_subject(Arguments& arguments) {
  std::string const model = arguments.text("model", ""), policy = arguments.text("policy", "");
  std::int64_t const depth = arguments.number("depth", 50);
  std::string known;
  for (Subject const& subject : subjects()) {
    if (subject.model == model && subject.depth == depth && subject.policy == policy) return subject.run(arguments);
    known += std::string("\n  --model ") + subject.model + " --depth " + std::to_string(subject.depth) + " --policy " +
             subject.policy;
  }
  throw std::runtime_error("--model \"" + model + "\" --depth " + std::to_string(depth) + " --policy \"" + policy +
                           "\" is not part of this program. It has:" + known);
}

}  // namespace bench
