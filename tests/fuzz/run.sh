#!/usr/bin/env bash
# Builds the fuzz targets and runs each for FUZZ_SECONDS, as many at once as there are cores. What
# one of them found is written to the cache, and fails the run. The corpus is kept there too.
set -euo pipefail
cd "$(dirname "$0")"
seconds=${FUZZ_SECONDS:-15}
cache=${AUDITMILL_CACHE:-$HOME/.cache/auditmill}
export CARGO_TARGET_DIR=$cache/fuzz PATH=$cache/bin:$PATH
# As cargo-fuzz sets it: the program's parts are compiled into several targets.
export ASAN_OPTIONS=detect_odr_violation=0
toolchain=$(sed -n 's/^channel = "\(.*\)"/\1/p' rust-toolchain.toml)
host=$(rustc "+$toolchain" -vV | sed -n 's/^host: //p')

cargo "+$toolchain" fuzz build --fuzz-dir .
./seeds.sh "$cache/fuzz/seeds"

one() {
  local target=$1 data=$cache/fuzz log=$cache/fuzz/$1.log options=()
  mkdir -p "$data/corpus/$target" "$data/found/$target"
  [ ! -e "dictionaries/$target" ] || options+=("-dict=dictionaries/$target")
  # A hang is a find: an input takes microseconds.
  if "$data/$host/release/$target" "${options[@]}" -max_total_time="$seconds" -timeout=60 \
    -max_len=16384 -print_final_stats=1 -artifact_prefix="$data/found/$target/" \
    "$data/corpus/$target" "$data/seeds/$target" > "$log" 2>&1; then
    local inputs cover
    inputs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    cover=$(grep -oE 'cov: [0-9]+' "$log" | tail -n 1 | cut -c6-)
    echo "fuzz $target: $inputs inputs, $cover edges, nothing found"
  else
    tail -n 40 "$log"
    echo "error: fuzz $target found something; the input is in $data/found/$target, the log in $log" >&2
    return 1
  fi
}

targets=(fuzz_targets/*.rs)
failed=0
while [ "${#targets[@]}" -gt 0 ]; do
  running=()
  for target in "${targets[@]:0:$(nproc)}"; do
    one "$(basename "$target" .rs)" &
    running+=($!)
  done
  targets=("${targets[@]:$(nproc)}")
  for id in "${running[@]}"; do wait "$id" || failed=1; done
done
exit "$failed"
