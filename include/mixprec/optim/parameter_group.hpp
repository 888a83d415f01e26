// SPDX-License-Identifier: Apache-2.0
// Parameter groups: multipliers of the learning rate and the weight decay, chosen by a parameter's name or kind.
#pragma once

#include <cmath>  // std::isfinite
#include <cstddef>
#include <span>
#include <string>
#include <string_view>

#include <mixprec/error.hpp>
#include <mixprec/policy/policy.hpp>  // ParameterKind

namespace mixprec::inline MIXPREC_ABI {

/// Parameters that a pattern matches, with their multipliers. A pattern is a glob over the parameter's whole name
/// ("backbone.*", "*.bn?.weight"; * stands for any characters, dots too, ? for one), or "kind:weight", "kind:bias"
/// (outside normalisation layers), "kind:norm" (their weight and bias).
struct ParameterGroup {
  std::string pattern;
  double lr_multiplier = 1.0;
  double decay_multiplier = 1.0;
};

struct Multipliers {
  double lr = 1.0, decay = 1.0;
  constexpr bool operator==(Multipliers const&) const = default;
};

/// Whether a glob with * and ? matches all of `text`.
constexpr bool glob_matches(std::string_view pattern, std::string_view text) {
  // On a mismatch the last star takes one more character; earlier stars need no second look.
  std::size_t p = 0, t = 0, star = std::string_view::npos, resume = 0;
  while (t < text.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      resume = t;
    } else if (p < pattern.size() && (pattern[p] == '?' || pattern[p] == text[t])) {
      ++p;
      ++t;
    } else if (star != std::string_view::npos) {
      p = star + 1;
      t = ++resume;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

/// Whether `group` holds the parameter.
constexpr bool group_matches(ParameterGroup const& group, std::string_view name, ParameterKind kind) {
  std::string_view const pattern = group.pattern;
  if (pattern == "kind:weight") return kind == ParameterKind::weight;
  if (pattern == "kind:bias") return kind == ParameterKind::bias;
  if (pattern == "kind:norm") return is_norm(kind);
  return glob_matches(pattern, name);
}

/// Multipliers of the first group, in the order given, that holds the parameter; 1 and 1 where none does.
constexpr Multipliers multipliers_for(std::string_view name, ParameterKind kind,
                                      std::span<ParameterGroup const> groups) {
  for (ParameterGroup const& group : groups) {
    if (group_matches(group, name, kind)) return {group.lr_multiplier, group.decay_multiplier};
  }
  return {};
}

/// Errors: Error for a group that holds no parameter, with its pattern. `named` is a range of objects with name and
/// kind.
template <class Named>
void require_matches(std::span<ParameterGroup const> groups, Named const& named) {
  for (ParameterGroup const& group : groups) {
    bool found = false;
    for (auto const& parameter : named) found = found || group_matches(group, parameter.name, parameter.kind);
    if (!found) {
      throw Error(
          "parameter group \"" + group.pattern +
          "\" holds no parameter of the model. Remove it, or change the pattern; names() of the model lists all "
          "names.");
    }
  }
}

/// Errors: Error for an empty pattern, an unknown kind, or a multiplier that is negative or not finite; it names the
/// group.
inline void check_groups(std::span<ParameterGroup const> groups) {
  for (ParameterGroup const& group : groups) {
    if (group.pattern.empty()) {
      throw Error(
          "parameter group: the pattern is empty. Use a glob over names, or kind:weight, kind:bias, kind:norm.");
    }
    if (group.pattern.starts_with("kind:") && group.pattern != "kind:weight" && group.pattern != "kind:bias" &&
        group.pattern != "kind:norm") {
      throw Error("parameter group: \"" + group.pattern +
                  "\" is no kind of parameter. Use kind:weight, kind:bias or kind:norm.");
    }
    for (double const multiplier : {group.lr_multiplier, group.decay_multiplier}) {
      if (multiplier >= 0.0 && std::isfinite(multiplier)) continue;
      throw Error("parameter group \"" + group.pattern + "\": a multiplier is " + std::to_string(multiplier) +
                  ". Use a number that is not negative.");
    }
  }
}

}  // namespace mixprec::inline MIXPREC_ABI
