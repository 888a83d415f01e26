#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# README.md's tables are those of bench/results: tables.sh TREE
set -euo pipefail
command -v python3 >/dev/null || { echo "SKIPPED: there is no python3"; exit 77; }
cd "$1"
python3 bench/table.py --check README.md || { echo "FAILED: see above."; exit 1; }
echo "README.md's tables are those of bench/results."
