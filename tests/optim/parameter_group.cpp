// SPDX-License-Identifier: Apache-2.0
// Which parameters a group holds.
#include <doctest/doctest.h>

#include <limits>
#include <vector>

#include <mixprec/optim/parameter_group.hpp>

using namespace mixprec;

TEST_CASE("a glob matches whole names") {
  CHECK(glob_matches("conv1.weight", "conv1.weight"));
  CHECK_FALSE(glob_matches("conv1", "conv1.weight"));
  CHECK_FALSE(glob_matches("conv1.weight", "conv1"));
  CHECK(glob_matches("*", ""));
  CHECK(glob_matches("*", "layer1.0.bn1.bias"));
  CHECK(glob_matches("layer?.*.weight", "layer1.0.conv2.weight"));
  CHECK_FALSE(glob_matches("layer?.*.weight", "layer10.0.conv2.weight"));
  CHECK(glob_matches("*.bn*.*", "layer1.0.bn2.bias"));
  CHECK(glob_matches("*aab", "aaaaab"));
  CHECK_FALSE(glob_matches("*aab", "aaaaaba"));
  CHECK(glob_matches("a*b*c", "a1b2b3c"));
  CHECK_FALSE(glob_matches("", "a"));
}

TEST_CASE("the first group that holds a parameter decides") {
  std::vector<ParameterGroup> const groups = {{.pattern = "backbone.conv1.*", .lr_multiplier = 0.0},
                                              {.pattern = "kind:norm", .decay_multiplier = 0.0},
                                              {.pattern = "kind:bias", .lr_multiplier = 2.0, .decay_multiplier = 0.0},
                                              {.pattern = "backbone.*", .lr_multiplier = 0.1}};
  check_groups(groups);
  CHECK(multipliers_for("backbone.conv1.bias", ParameterKind::bias, groups) == Multipliers{0.0, 1.0});
  CHECK(multipliers_for("backbone.bn1.weight", ParameterKind::norm_weight, groups) == Multipliers{1.0, 0.0});
  CHECK(multipliers_for("backbone.bn1.bias", ParameterKind::norm_bias, groups) == Multipliers{1.0, 0.0});
  CHECK(multipliers_for("head.bias", ParameterKind::bias, groups) == Multipliers{2.0, 0.0});
  CHECK(multipliers_for("backbone.conv2.weight", ParameterKind::weight, groups) == Multipliers{0.1, 1.0});
  CHECK(multipliers_for("head.weight", ParameterKind::weight, groups) == Multipliers{});
  CHECK(multipliers_for("head.weight", ParameterKind::weight, {}) == Multipliers{});
}

TEST_CASE("a kind and a glob in one pattern ask for both") {
  std::vector<ParameterGroup> const groups = {{.pattern = "kind:norm backbone.*", .lr_multiplier = 0.1},
                                              {.pattern = "kind:bias *.conv?.bias", .lr_multiplier = 2.0}};
  check_groups(groups);
  CHECK(multipliers_for("backbone.stem.1.weight", ParameterKind::norm_weight, groups) == Multipliers{0.1, 1.0});
  CHECK(multipliers_for("head.bn.weight", ParameterKind::norm_weight, groups) == Multipliers{});
  CHECK(multipliers_for("backbone.conv1.weight", ParameterKind::weight, groups) == Multipliers{});
  CHECK(multipliers_for("backbone.conv1.bias", ParameterKind::bias, groups) == Multipliers{2.0, 1.0});
  CHECK(multipliers_for("fc.bias", ParameterKind::bias, groups) == Multipliers{});
}

TEST_CASE("groups with a wrong pattern or multiplier are refused by name") {
  auto const refuses = [](ParameterGroup const& group, char const* words) {
    CHECK_THROWS_WITH_AS(check_groups({&group, 1}), doctest::Contains(words), Error);
  };
  refuses({.pattern = ""}, "pattern is empty");
  refuses({.pattern = "kind:norms"}, "\"kind:norms\" is no kind");
  refuses({.pattern = "kind:norms backbone.*"}, "\"kind:norms backbone.*\" is no kind");
  refuses({.pattern = "kind:norm "}, "\"kind:norm \": there is no glob behind the kind");
  refuses({.pattern = "head.*", .lr_multiplier = -1.0}, "\"head.*\": .lr_multiplier is -1");
  refuses({.pattern = "head.*", .decay_multiplier = std::numeric_limits<double>::infinity()},
          ".decay_multiplier is inf");
}
