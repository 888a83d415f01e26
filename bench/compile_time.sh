#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What the headers cost a user: time and peak memory of compiling an empty file, <mixprec/mixprec.hpp> alone, and the
# quickstart, with g++ and, where it is found, nvcc. The best of REPEATS (3) runs; one JSON line each.
#   compile_time.sh [REPEATS]      CXX, NVCC and CUDA_ARCHITECTURE (90a) may be set
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
repeats=${1:-3}
cxx=${CXX:-g++}
nvcc=${NVCC:-$(command -v nvcc || echo /usr/local/cuda/bin/nvcc)}
architecture=${CUDA_ARCHITECTURE:-90a}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
[ -x /usr/bin/time ] || { echo "compile_time.sh needs GNU time (Debian: time)." >&2; exit 1; }
commit=$(git -C "$root" rev-parse HEAD 2>/dev/null || echo unknown)

has_header() { echo "#include <$1>" | "$cxx" -E -x c++ - >/dev/null 2>&1; }

# measure NAME COMPILER COMMAND...
measure() {
  local name=$1 compiler=$2 best='' wall='' memory='' seconds user kilobytes
  shift 2
  for ((run = 0; run < repeats; ++run)); do
    if ! /usr/bin/time -f '%e %U %M' -o "$scratch/time" "$@" 2>"$scratch/errors"; then
      echo "{\"name\": \"$name\", \"compiler\": \"$compiler\", \"error\": \"does not compile\"}"
      grep -m 3 -E 'error' "$scratch/errors" >&2 || true
      return 0
    fi
    read -r seconds user kilobytes <"$scratch/time"
    if [ -z "$best" ] || awk "BEGIN { exit !($user < $best) }"; then
      best=$user
      wall=$seconds
      memory=$kilobytes
    fi
  done
  printf '{"name": "%s", "compiler": "%s", "user_seconds": %s, "wall_seconds": %s, "peak_mib": %d, "commit": "%s"}\n' \
    "$name" "$compiler" "$best" "$wall" $((memory / 1024)) "$commit"
}

: >"$scratch/empty.cpp"
echo '#include <mixprec/mixprec.hpp>' >"$scratch/include.cpp"
flags=(-std=c++20 -I "$root/include" -o "$scratch/out.o" -c)
name=$("$cxx" --version | head -n 1)
measure 'empty file' "$name" "$cxx" "${flags[@]}" "$scratch/empty.cpp"
measure 'include <mixprec/mixprec.hpp>' "$name" "$cxx" "${flags[@]}" "$scratch/include.cpp"
components=(-fopenmp)
if has_header dnnl.hpp; then components+=(-DMIXPREC_WITH_ONEDNN); fi
measure 'quickstart.cpp -O0' "$name" "$cxx" "${flags[@]}" -O0 "${components[@]}" "$root/examples/quickstart.cpp"
measure 'quickstart.cpp -O3' "$name" "$cxx" "${flags[@]}" -O3 "${components[@]}" "$root/examples/quickstart.cpp"

if [ -x "$nvcc" ]; then
  name="nvcc $("$nvcc" --version | sed -n 's/.*release \([0-9.]*\).*/\1/p')"
  flags+=(-gencode "arch=compute_$architecture,code=sm_$architecture")
  cp "$scratch/empty.cpp" "$scratch/empty.cu"
  cp "$scratch/include.cpp" "$scratch/include.cu"
  measure 'empty file' "$name" "$nvcc" "${flags[@]}" "$scratch/empty.cu"
  measure 'include <mixprec/mixprec.hpp>' "$name" "$nvcc" "${flags[@]}" "$scratch/include.cu"
  measure 'quickstart.cu -O3' "$name" "$nvcc" "${flags[@]}" -O3 "$root/examples/quickstart.cu"
fi
