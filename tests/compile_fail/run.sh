#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Holds one file of code that must not compile to the words of its first error: run.sh COMPILER SOURCE INCLUDE_DIR
#
# A source says, in comments of its own line:
#   // expect-error: <text>   required, may repeat; the first line of output that says "error:" holds all texts behind that word
#   // flags: <flags>         optional, added to the command line
# and holds a correct variant under `#ifdef MIXPREC_CONTROL`, which must compile without a warning: otherwise the file
# could fail for a reason that is not the one it is about.
set -euo pipefail
export LC_ALL=C  # plain quotation marks in messages

compiler=$1 source=$2 include=$3
fail() {
  echo "FAILED: $source: $1"
  [ -z "${output:-}" ] || printf '%s\n' "$output" | head -n 40
  exit 1
}

mapfile -t expected < <(sed -n 's|^// expect-error: ||p' "$source")
[ ${#expected[@]} -gt 0 ] || fail "it has no line '// expect-error: <text>'. Add one."
grep -q '^#ifdef MIXPREC_CONTROL' "$source" || fail "it has no variant under '#ifdef MIXPREC_CONTROL'. Add one."
read -r -a flags < <(sed -n 's|^// flags: ||p' "$source" | tr '\n' ' '; echo)

case "$(basename "$compiler")" in
  nvcc*) command=("$compiler" -x cu -std=c++20 -arch=sm_80 -c -o /dev/null "-I$include" -Werror all-warnings) ;;
  *) command=("$compiler" -x c++ -std=c++20 -fsyntax-only "-I$include" -Wall -Wextra -Wno-missing-field-initializers -Werror) ;;
esac
command+=(${flags[@]+"${flags[@]}"} "$source")

output=$("${command[@]}" -DMIXPREC_CONTROL 2>&1) || fail "the control (-DMIXPREC_CONTROL) does not compile:"
[ -z "$output" ] || fail "the control (-DMIXPREC_CONTROL) compiles with a message:"

if output=$("${command[@]}" 2>&1); then fail "it compiles, and should not."; fi
first=$(grep -m 1 'error:' <<<"$output") || fail "the compiler fails without a line that says 'error:'"
for text in "${expected[@]}"; do
  [[ ${first#*error:} == *"$text"* ]] || fail "the first error does not say '$text'. It is:
$first
All of the output:"
done
echo "$first"
