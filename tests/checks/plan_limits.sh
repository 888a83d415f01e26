#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A model of 2,000 ops is planned within the limit that a compiler sets itself for constant evaluation, under the policy
# that computes most again too; and under Amp within the part of it named below, so that a plan which grows is seen before
# users are stopped: plan_limits.sh TREE COMPILER
set -euo pipefail
tree=$1 compiler=$2
[[ $compiler == nvcc && -x /usr/local/cuda/bin/nvcc ]] && PATH=$PATH:/usr/local/cuda/bin
command -v "$compiler" >/dev/null || { echo "SKIPPED: there is no $compiler"; exit 77; }

trial=$(mktemp -d)
trap 'rm -rf "$trial"' EXIT
flags=(-std=c++20 "-I$tree/include" "-I$tree/tests")
source=$tree/tests/plan/large.hpp
# plans [FLAG...]: only the front end runs.
plans() {
  case "$(basename "$compiler")" in
    nvcc*) "$compiler" -x cu "${flags[@]}" "$@" -arch=sm_80 --cuda -o "$trial/large.ii" "$source" ;;
    *) "$compiler" -x c++ -fsyntax-only -w "${flags[@]}" "$@" "$source" ;;
  esac 2>"$trial/messages"
}
case "$("$compiler" --version)" in
  *clang*) margin=(-fconstexpr-steps=655360) ;;  # of 1048576
  *NVIDIA*) margin=(-Xcudafe --max_cost_constexpr_call=1000000) ;;  # of 2000000
  *) margin=(-fconstexpr-ops-limit=8388608) ;;  # of 33554432
esac
again='-DMIXPREC_TEST_LARGE_POLICY=RecomputeExpansions<Amp<float16>>'
for arguments in "" "${margin[*]}" "$again"; do
  # shellcheck disable=SC2086
  if ! plans $arguments; then
    echo "FAILED: $compiler ${arguments:-without flags} does not plan 2,000 ops:"
    cut -c 1-300 "$trial/messages" | head -n 20
    exit 1
  fi
done
echo "$compiler plans 2,000 ops, also with ${margin[*]} and with $again."
