#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Holds the includes between rooms to rooms.txt: rooms.sh TREE
set -euo pipefail
cd "$1"
table=${MIXPREC_ROOMS_TABLE:-tests/checks/rooms.txt}

find include/mixprec -mindepth 2 \( -name '*.hpp' -o -name '*.cuh' \) -print | sort | {
  mapfile -t headers
  [ ${#headers[@]} -gt 0 ] || { echo "FAILED: no header below include/mixprec."; exit 1; }
  awk '
    FILENAME == ARGV[1] {
      if ($0 ~ /^#/) next
      ++level
      for (i = 1; i <= NF; ++i) level_of[$i] = level
      next
    }
    FNR == 1 {
      split(FILENAME, path, "/")
      room = path[3]
      if (!(room in level_of)) { complain("its room \"" room "\" is not in rooms.txt. Give it a line there.") }
    }
    /^[ \t]*#[ \t]*include[ \t]*["<]/ {
      target = $0
      sub(/^[ \t]*#[ \t]*include[ \t]*/, "", target)
      if (target ~ /^"/) { complain(target ": write #include <mixprec/...>."); next }
      if (target !~ /^<mixprec\//) next
      sub(/^<mixprec\//, "", target)
      sub(/>.*$/, "", target)
      if (target == "config.hpp" || target == "error.hpp") next
      if (split(target, other, "/") < 2) {
        complain("it includes the umbrella header mixprec/" target ". Include the headers that it needs.")
      } else if (!(other[1] in level_of)) {
        complain("it includes mixprec/" target ", whose room is not in rooms.txt.")
      } else if (other[1] != room && level_of[other[1]] >= level_of[room]) {
        complain("room \"" room "\" may not include room \"" other[1] "\" (" target "). See tests/checks/rooms.txt.")
      }
    }
    function complain(what) { printf "FAILED: %s:%d: %s\n", FILENAME, FNR, what; bad = 1 }
    END { exit bad }
  ' "$table" "${headers[@]}"
  echo "${#headers[@]} headers keep to the order of the rooms."
}
