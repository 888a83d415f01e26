#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Every static_assert in include/ ends in a message that starts "mixprec: ", so that a user knows whose error it is:
# static_asserts.sh TREE
set -euo pipefail
cd "$1"
find include -name '*.hpp' -o -name '*.cuh' | sort | xargs awk '
  function check_file(    rest, position, depth, i, character, text, line, before) {
    rest = content
    before = ""
    while (match(rest, /(^|[^A-Za-z0-9_])static_assert[ \n]*\(/)) {
      before = before substr(rest, 1, RSTART + RLENGTH - 1)
      rest = substr(rest, RSTART + RLENGTH)
      depth = 1
      for (i = 1; i <= length(rest) && depth > 0; ++i) {
        character = substr(rest, i, 1)
        if (character == "\"") {
          for (++i; substr(rest, i, 1) != "\"" && i < length(rest); ++i) if (substr(rest, i, 1) == "\\") ++i
        } else if (character == "(") ++depth
        else if (character == ")") --depth
      }
      text = substr(rest, 1, i - 1)
      ++count
      if (text !~ /,[ \n]*"mixprec: /) {
        line = gsub(/\n/, "\n", before) + 1
        sub(/\n.*/, "", text)
        printf "FAILED: %s:%d: static_assert(%s: its message does not start \"mixprec: \".\n", file, line, text
        bad = 1
      }
    }
  }
  FNR == 1 { if (file != "") check_file(); file = FILENAME; content = "" }
  {
    line = $0
    sub(/^[ \t]*\/\/.*/, "", line)
    content = content line "\n"
  }
  END {
    check_file()
    if (!bad) printf "%d static_asserts have a message.\n", count
    exit bad
  }'
