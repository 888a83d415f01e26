#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The main example on the CPU for a few steps: the table that it ends with, the picture, the file, and what it refuses:
# quickstart.sh PROGRAM ONEDNN, the latter ON where it is built with oneDNN
set -euo pipefail

program=$(realpath "$1")
with_onednn=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
export OMP_NUM_THREADS=1  # idle threads would only wait for cores that other tests use
fail() {
  echo "FAILED: $*"
  cat output
  exit 1
}
prints() { grep -Eq -- "$1" output || fail "no line matches '$1'"; }
# refused PATTERN ARGUMENTS: a usage error that matches.
refused() {
  local status=0 pattern=$1
  shift
  "$program" "$@" >output 2>&1 || status=$?
  [ $status = 2 ] || fail "quickstart $* ended with $status"
  prints "$pattern"
}

echo "fp32 and mixed, on a CPU without AMX"
ONEDNN_MAX_CPU_ISA=AVX2 "$program" --quick --backend cpu --json run.json >output 2>&1 || fail "status $?"
number='[0-9.e+-]+'
prints '^metric +\| fp32 +\| mixed'
prints '^test accuracy \| [01]\.[0-9]{4} \| [01]\.[0-9]{4}$'
prints "^final loss +\| $number +\| $number"
prints "^time per step +\| $number +\| $number +ms"
prints "^peak memory +\| $number +\| $number +MiB"
prints '^skipped steps +\| 0 +\| 0'
prints '^final scale +\| 1 +\| 1'
prints '^fp32 .*step 10/10 .*loss'
prints '^layer1.0.conv1 +conv2d +bfloat16 +float32'
prints '^total +22 ops +folded 12, launched 1'
[ "$with_onednn" != ON ] || prints '^mixed is not faster here: .*AMX'
[ "$(head -c 8 quickstart.png | od -An -tx1 | tr -d ' \n')" = 89504e470d0a1a0a ] || fail "quickstart.png is no PNG file"
grep -q '"losses"' run.json || fail "run.json has no losses"

echo "one policy, another seed"
"$program" --quick --backend cpu --policy fp32 --seed 3 --out other.png >output 2>&1 || fail "status $?"
prints '^test accuracy \| [01]\.[0-9]{4} *$'
[ -s other.png ] || fail "other.png was not written"

echo "Fashion-MNIST's files"
if [ -n "${MIXPREC_TEST_DATA:-}" ]; then
  "$program" --quick --backend cpu --policy fp32 --data "$MIXPREC_TEST_DATA/fashion_mnist" >output 2>&1 || fail "status $?"
  prints '^test accuracy \| [01]\.[0-9]{4}'
else
  echo "SKIPPED: quickstart --data: MIXPREC_TEST_DATA is not set"
fi

echo "usage errors"
refused 'bf16 has float.s range and needs no loss scale' --backend cpu --scale 512
refused 'the CPU has no fast float16' --backend cpu --mixed fp16
refused 'policy: half not in \{fp32,mixed,both\}' --policy half
mkdir empty
status=0
"$program" --quick --backend cpu --data empty >output 2>&1 || status=$?
[ $status = 1 ] || fail "a folder without the files gives $status"
prints "^quickstart: mixprec: IDX file 'empty/.*gz': cannot be opened"
