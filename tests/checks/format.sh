#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The tree is formatted by clang-format 14 (another version formats otherwise): format.sh TREE [--fix]
set -euo pipefail
# shellcheck source=tests/checks/sources.sh
source "$(dirname "${BASH_SOURCE[0]}")/sources.sh"
cd "$1"

formatter=
for candidate in clang-format-14 clang-format; do
  if command -v "$candidate" >/dev/null && [[ $("$candidate" --version) == *"version 14."* ]]; then
    formatter=$candidate
    break
  fi
done
if [ -z "$formatter" ]; then
  echo "SKIPPED: clang-format 14 was not found (Debian and Ubuntu: clang-format-14)."
  exit 77
fi

mapfile -t files < <(list_code)
if [ "${2:-}" = --fix ]; then
  "$formatter" -i --style=file "${files[@]}"
  echo "${#files[@]} files are formatted now."
  exit 0
fi

# Compared by content: --dry-run also reports the closing comments of inline namespaces, which it would not change.
bad=0
for file in "${files[@]}"; do
  if ! "$formatter" --style=file "$file" | cmp -s "$file" -; then
    echo "FAILED: $file is not formatted. Run ./dev format."
    bad=1
  fi
done
[ $bad = 1 ] || echo "${#files[@]} files are formatted."
exit $bad
