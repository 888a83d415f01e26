// SPDX-License-Identifier: Apache-2.0
// Tests that need something which this machine may lack say so in one line, instead of passing silently.
#pragma once

#include <doctest/doctest.h>

#include <cstdio>

/// Prints "SKIPPED: <test>: <why>" and returns true: `if (lacking && skipped("why")) return;`.
inline bool skipped(char const* why) {
  auto const* const test = doctest::getContextOptions()->currentTest;
  std::printf("SKIPPED: %s: %s\n", test != nullptr ? test->m_name : "(no test)", why);
  std::fflush(stdout);
  return true;
}
