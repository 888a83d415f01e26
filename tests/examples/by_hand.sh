#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# An example compiled by hand without oneDNN, and without OpenMP too, as the README says that it can be: both run and
# print the same. Whether the kernels that serve it then are right is for their own tests.
#   by_hand.sh ROOT COMPILER
set -euo pipefail

root=$(realpath "$1")
compiler=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
export OMP_NUM_THREADS=2

# build NAME OPTION...: compiles and runs the example, and leaves what it prints in NAME.
build() {
  local name=$1
  shift
  "$compiler" -std=c++20 -I "$root/include" "$root/examples/own_module.cpp" -o program "$@"
  ./program >"$name"
  grep -Eqx "the first image's first logit: -?[0-9]+\.[0-9]{3}" "$name" ||
    { echo "FAILED: $name prints:" && cat "$name" && exit 1; }
}

build alone
build openmp -fopenmp
cmp alone openmp
