# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# For the other scripts here: the files of a tree, as git sees them where there is git (new files included, ignored ones
# not), and otherwise all but hidden files and build trees. One path a line, relative to the current folder.
list_files() {
  if git rev-parse --is-inside-work-tree >/dev/null 2>&1; then
    git ls-files --cached --others --exclude-standard | while IFS= read -r file; do
      if [ -f "$file" ]; then echo "$file"; fi
    done
  else
    find . -path ./build -prune -o -path './.*' -prune -o -type f -print | sed 's|^\./||'
  fi
}

list_code() { list_files | grep -E '\.(hpp|cuh|cpp|cu)$' || true; }
