#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Code that README.md shows is code that is compiled: a block behind "<!-- from FILE -->" stands in FILE, line for line.
# readme.sh TREE
set -euo pipefail
cd "$1"
awk '
  function complain(what) { printf "FAILED: README.md:%d: %s\n", FNR, what; bad = 1 }
  /^<!-- from .* -->$/ { file = $3; next }
  /^```/ && file != "" && !inside { inside = 1; block = ""; next }
  /^```/ && inside {
    text = ""
    while ((getline line < file) > 0) text = text line "\n"
    close(file)
    if (text == "") complain("there is no file " file ".")
    else if (block == "") complain("the block above is empty. Copy it from " file ".")
    else if (index("\n" text, "\n" block) == 0) complain("the block above is not in " file ". Copy it from there.")
    inside = 0; file = ""; ++blocks
    next
  }
  inside { block = block $0 "\n" }
  END {
    if (inside || file != "") complain("there is no whole block behind the last <!-- from FILE -->.")
    if (blocks == 0) { print "FAILED: README.md has no block behind \"<!-- from FILE -->\"."; bad = 1 }
    if (!bad) printf "%d blocks of README.md are in the files that they name.\n", blocks
    exit bad
  }' README.md
