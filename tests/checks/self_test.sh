#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Shows that the checks beside this file, and the compile-fail harness, can fail: each gets a small tree with one fault.
# self_test.sh TREE [COMPILER]
set -euo pipefail
tree=$(cd "$1" && pwd)
checks=$tree/tests/checks
trial=$(mktemp -d)
trap 'rm -rf "$trial"' EXIT
mkdir -p "$trial/include/mixprec/dtype" "$trial/include/mixprec/nn"
export MIXPREC_ROOMS_TABLE=$checks/rooms.txt
header=$trial/include/mixprec/dtype/trial.hpp
faults=0

# expect RESULT WHAT COMMAND...: RESULT is pass or fail.
expect() {
  local wanted=$1 what=$2 result=pass output
  shift 2
  output=$("$@" 2>&1) || result=fail
  if [ "$result" != "$wanted" ] || { [ "$result" = fail ] && [[ $output != *FAILED:* ]]; }; then
    printf 'FAILED: %s: expected %s, got %s\n%s\n' "$what" "$wanted" "$result" "$output"
    faults=1
  fi
}

printf '#include <mixprec/config.hpp>\n' >"$header"
expect pass "a header that includes config.hpp" bash "$checks/rooms.sh" "$trial"
printf '#include <mixprec/nn/module.hpp>\n' >"$header"
expect fail "dtype that includes nn" bash "$checks/rooms.sh" "$trial"
printf '#include <mixprec/cuda.hpp>\n' >"$header"
expect fail "a room that includes an umbrella" bash "$checks/rooms.sh" "$trial"
printf '#include "bits.hpp"\n' >"$header"
expect fail "an include relative to the file" bash "$checks/rooms.sh" "$trial"
mkdir "$trial/include/mixprec/attic" && printf '\n' >"$trial/include/mixprec/attic/old.hpp"
printf '\n' >"$header"
expect fail "a room that the table does not know" bash "$checks/rooms.sh" "$trial"
rm -r "$trial/include/mixprec/attic"

printf '// static_assert(false)\nstatic_assert(sizeof(int) == (4),\n  "mixprec: a) message. Do this.");\n' >"$header"
expect pass "a static_assert with a message" bash "$checks/static_asserts.sh" "$trial"
printf 'static_assert(sizeof(int) == 4);\n' >"$header"
expect fail "a bare static_assert" bash "$checks/static_asserts.sh" "$trial"
printf 'static_assert(true, "message");\nstatic_assert(true, "mixprec: ok");\n' >"$header"
expect fail "a static_assert with a message of nobody" bash "$checks/static_asserts.sh" "$trial"

printf '// see the notes\n' >"$header"
expect pass "a tree without paths" bash "$checks/paths.sh" "$trial"
printf '// see /%s/somebody/notes\n' home >"$header"
expect fail "a path of one machine" bash "$checks/paths.sh" "$trial"

printf 'int main() {\n  return 0;\n}\n' >"$trial/shown.cpp"
printf '<!-- from shown.cpp -->\n```cpp\nint main() {\n  return 0;\n}\n```\n' >"$trial/README.md"
expect pass "a README that shows a file's code" bash "$checks/readme.sh" "$trial"
printf '<!-- from shown.cpp -->\n```cpp\n  return 1;\n```\n' >"$trial/README.md"
expect fail "a README whose code is another" bash "$checks/readme.sh" "$trial"
printf '<!-- from gone.cpp -->\n```cpp\n  return 0;\n```\n' >"$trial/README.md"
expect fail "a README that names a file which is not there" bash "$checks/readme.sh" "$trial"
printf 'no code\n' >"$trial/README.md"
expect fail "a README without code of a file" bash "$checks/readme.sh" "$trial"

if command -v python3 >/dev/null; then
  cp -r "$tree/bench" "$trial/bench"
  printf '<!-- bench:%s -->\n<!-- /bench -->\n' "$(basename "$(ls "$trial"/bench/results/*.json | head -n 1)" .json)" >"$trial/README.md"
  expect fail "a README whose table is out of date" bash "$checks/tables.sh" "$trial"
  python3 "$trial/bench/table.py" "$trial/README.md"
  expect pass "a README whose table is the results'" bash "$checks/tables.sh" "$trial"
fi

run=$tree/tests/compile_fail/run.sh
source=$trial/case.cpp
compiler=${2:-g++}
wrong_type='#ifdef MIXPREC_CONTROL
int x = 1;
#else
int x = "text";
#endif'
printf '// expect-error: invalid conversion\n%s\n' "$wrong_type" >"$source"
if [[ $("$compiler" --version) == *"Free Software"* ]]; then
  expect pass "the right message" bash "$run" "$compiler" "$source" "$tree/include"
fi
printf '// expect-error: no such words\n%s\n' "$wrong_type" >"$source"
expect fail "another message" bash "$run" "$compiler" "$source" "$tree/include"
printf '%s\n' "$wrong_type" >"$source"
expect fail "no expectation" bash "$run" "$compiler" "$source" "$tree/include"
printf '// expect-error: anything\n#ifdef MIXPREC_CONTROL\n#endif\nint x = 1;\n' >"$source"
expect fail "code that compiles" bash "$run" "$compiler" "$source" "$tree/include"
printf '// expect-error: invalid conversion\n#ifdef MIXPREC_CONTROL\n#endif\nint x = "text";\n' >"$source"
expect fail "a control that does not compile" bash "$run" "$compiler" "$source" "$tree/include"

[ $faults = 0 ] && echo "Each check fails where it should."
exit $faults
