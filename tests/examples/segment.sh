#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The example `segment` at a tiny size: what it writes, what it refuses, and that a run killed at any moment goes on bit
# for bit: segment.sh PROGRAM
set -euo pipefail

program=$(realpath "$1")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
# Networks this small gain nothing from threads, which would only wait for cores that other tests use.
export OMP_NUM_THREADS=1
fail() {
  echo "FAILED: $*"
  exit 1
}

# refused STATUS PATTERN ARGUMENTS: ends with the status and one line on standard error that matches.
refused() {
  local status=0 expected=$1 pattern=$2
  shift 2
  "$program" "$@" >/dev/null 2>errors || status=$?
  [ "$status" = "$expected" ] || fail "segment $* ended with $status, not $expected: $(cat errors)"
  [ "$(wc -l <errors)" = 1 ] || fail "segment $* does not print one line: $(cat errors)"
  grep -Eq -- "$pattern" errors || fail "segment $*: '$(cat errors)' does not match '$pattern'"
}

# Arguments of a run of a few seconds.
tiny=(--limit 8 --batch-size 2 --crop 48x64 --workers 1)

echo "usage errors"
refused 2 "dynamic: amp-bf16 .* needs no loss scale" --policy amp-bf16 --scale dynamic
refused 2 "512: fp32 .* needs no loss scale" --policy fp32 --scale 512
refused 2 "neither dynamic nor a number" --policy amp-fp16 --scale large
refused 2 "holds .*MIXPREC_SEGMENT_POLICIES=.*o3" --policy o3 --scale 32
refused 2 "not in" --model unet
refused 2 "HEIGHTxWIDTH" --crop 180
refused 2 "one side of the comparison" --compare --policy fp32
refused 2 "MIXPREC_SEGMENT_CLASSES" --data . --classes 200
refused 2 "is not given" --classes 3
refused 2 "cannot be resumed" --resume --checkpoint-every 0
refused 2 "out of range|not in range" --epochs 0

echo "a folder of images"
mkdir data
# 48x40 pixels, 8 bits: a grey ramp; labels 0, 1 and 2 in thirds; the same with a 9 in row 7, column 5.
base64 -d >data/image.png <<<"iVBORw0KGgoAAAANSUhEUgAAADAAAAAoCAAAAACd7CatAAAATUlEQVR42mNgYOXiF5GUU9bQNTK3cXTzDgiNik/JzCuuqG1q75k4bfaCpavWb9m57/CJs5eu33n47DXDqIZRDaMaRjWMahjVMKqBXhoAN9Zxbqyv+BEAAAAASUVORK5CYII="
base64 -d >data/label.png <<<"iVBORw0KGgoAAAANSUhEUgAAADAAAAAoCAAAAACd7CatAAAAI0lEQVR42mNgQAOMaIAJDTCMahjVMKphVMOohlENoxropQEAb0wHgRENyrAAAAAASUVORK5CYII="
base64 -d >data/wrong.png <<<"iVBORw0KGgoAAAANSUhEUgAAADAAAAAoCAAAAACd7CatAAAAJ0lEQVR42mNgQAOMaIAJDTCMaiBaA+doKI1qGNUwqmFUw6gGyjQAAKfvB4riQRKjAAAAAElFTkSuQmCC"
head -c 90 data/image.png >data/damaged.png
pair() { for name in "$@"; do echo "image.png $name"; done; }
pair label.png label.png label.png label.png >data/train.txt
pair label.png >data/val.txt
folder=(--data data --batch-size 2 --crop 32x32 --epochs 1 --policy fp32 --output folder)
named=(--classes left,middle,right)
"$program" "${folder[@]}" "${named[@]}" --eval slide --tta >folder.txt || fail "a folder of images does not train"
grep -q '^IoU middle ' folder.txt || fail "the table lacks a class: $(cat folder.txt)"
for file in result.json table.txt curves.png fp32.sheet.png fp32.weights.safetensors; do
  [ -s "folder/$file" ] || fail "folder/$file was not written"
done
"$program" "${folder[@]}" --ignore 2 --classes 2 --eval whole >folder.txt || fail "a label that does not count is refused"
pair label.png wrong.png >data/val.txt
refused 1 "wrong.png.*row 7, column 5 has label 9 of 3 classes" "${folder[@]}" "${named[@]}"
echo "damaged.png label.png" >data/val.txt
refused 1 "damaged.png" "${folder[@]}" "${named[@]}"
rm data/val.txt
: >segment_is_a_file
refused 1 "cannot be made" --output segment_is_a_file/runs
refused 1 "data/val.txt.*cannot be opened" "${folder[@]}" "${named[@]}"

echo "fp32 and mixed from one seed"
"$program" "${tiny[@]}" --compare --epochs 1 --output both >both.txt || fail "--compare fails"
grep -Eq '^metric +\| fp32 +\| amp-bf16' both/table.txt || fail "the table lacks a column: $(cat both/table.txt)"

echo "a run that is killed"
run=("${tiny[@]}" --policy fp32 --epochs 8 --evaluate-every 3 --checkpoint-every 1)
"$program" "${run[@]}" --output whole >/dev/null || fail "a run fails"
kills=0
checkpoint=killed/fp32.checkpoint.safetensors
# At once, so that a fast machine has one killed too, and later.
for pause in 0 "0.0$((RANDOM % 10))" "0.$((RANDOM % 10))$((RANDOM % 10))"; do
  rm -f seen
  [ ! -f "$checkpoint" ] || ln "$checkpoint" seen
  "$program" "${run[@]}" --resume --output killed >/dev/null 2>&1 &
  child=$!
  # Each checkpoint is a new file, so that a link to the old one tells them apart.
  while kill -0 $child 2>/dev/null; do
    if [ -f "$checkpoint" ] && ! [ "$checkpoint" -ef seen ]; then break; fi
    sleep 0.01
  done
  sleep "$pause"
  if kill -9 $child 2>/dev/null; then kills=$((kills + 1)); fi
  wait $child 2>/dev/null || true
done
[ $kills -gt 0 ] || fail "no run was killed: all of them had ended"
"$program" "${run[@]}" --resume --output killed >killed.txt || fail "a killed run does not go on"
grep -q 'resumed before step' killed.txt || fail "the run started anew: $(cat killed.txt)"
cmp whole/fp32.weights.safetensors killed/fp32.weights.safetensors || fail "the weights differ after $kills kills"
results() { sed -n '/"confusion"/,$p' "$1/result.json"; }
[ "$(results whole)" = "$(results killed)" ] || fail "losses or confusion differ after $kills kills"
refused 1 "lr" "${run[@]}" --lr 0.5 --resume --output killed
echo "killed $kills times; the weights are the same"
