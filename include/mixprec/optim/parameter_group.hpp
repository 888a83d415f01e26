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
/// (outside normalisation layers), "kind:norm" (their weight and bias), or both: "kind:norm backbone.*".
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

/// The two halves of a pattern; an empty kind is any.
struct GroupPattern {
  std::string_view kind, glob;

  constexpr explicit GroupPattern(std::string_view pattern) : glob(pattern) {
    if (!pattern.starts_with("kind:")) return;
    std::size_t const space = pattern.find(' ');
    kind = pattern.substr(0, space);
    glob = space == std::string_view::npos ? "*" : pattern.substr(space + 1);
  }
  constexpr bool known_kind() const {
    return kind.empty() || kind == "kind:weight" || kind == "kind:bias" || kind == "kind:norm";
  }
  constexpr bool matches(std::string_view name, ParameterKind of) const {
    if (kind == "kind:weight" && of != ParameterKind::weight) return false;
    if (kind == "kind:bias" && of != ParameterKind::bias) return false;
    if (kind == "kind:norm" && !is_norm(of)) return false;
    return glob_matches(glob, name);
  }
};

/// Whether `group` holds the parameter.
constexpr bool group_matches(ParameterGroup const& group, std::string_view name, ParameterKind kind) {
  return GroupPattern(group.pattern).matches(name, kind);
}

/// The first group, in the order given, that holds the parameter; the number of groups where none does.
constexpr std::size_t group_of(std::string_view name, ParameterKind kind, std::span<ParameterGroup const> groups) {
  std::size_t at = 0;
  while (at < groups.size() && !group_matches(groups[at], name, kind)) ++at;
  return at;
}

/// Multipliers of group_of; 1 and 1 where there is none.
constexpr Multipliers multipliers_for(std::string_view name, ParameterKind kind,
                                      std::span<ParameterGroup const> groups) {
  std::size_t const at = group_of(name, kind, groups);
  if (at == groups.size()) return {};
  return {groups[at].lr_multiplier, groups[at].decay_multiplier};
}

/// Errors: Error for a group that holds no parameter, or none that no group before it holds, with its pattern. `named`
/// is a range of objects with name and kind.
template <class Named>
void require_matches(std::span<ParameterGroup const> groups, Named const& named) {
  for (std::size_t at = 0; at < groups.size(); ++at) {
    ParameterGroup const& group = groups[at];
    bool found = false, counts = false;
    for (auto const& parameter : named) {
      if (!group_matches(group, parameter.name, parameter.kind)) continue;
      found = true;
      counts = counts || group_of(parameter.name, parameter.kind, groups) == at;
    }
    if (found && !counts) {
      throw Error("parameter group \"" + group.pattern +
                  "\": groups before it hold all of its parameters, and the first one counts. Put the narrower group "
                  "first.");
    }
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
    GroupPattern const pattern(group.pattern);
    if (pattern.glob.empty()) {
      throw Error("parameter group \"" + group.pattern +
                  "\": there is no glob behind the kind. Leave the space out, or give one over names.");
    }
    if (!pattern.known_kind()) {
      throw Error("parameter group: \"" + group.pattern +
                  "\" is no kind of parameter. Use kind:weight, kind:bias or kind:norm, and a glob behind a space if "
                  "names matter too.");
    }
    for (bool const of_decay : {false, true}) {
      double const multiplier = of_decay ? group.decay_multiplier : group.lr_multiplier;
      if (multiplier >= 0.0 && std::isfinite(multiplier)) continue;
      throw Error("parameter group \"" + group.pattern + "\": " + (of_decay ? ".decay_multiplier" : ".lr_multiplier") +
                  " is " + std::to_string(multiplier) + ". Use a number that is not negative.");
    }
  }
}

}  // namespace mixprec::inline MIXPREC_ABI
