#!/usr/bin/env bash
# Makes the seeds of each target from the repository's recordings and envelopes.
set -euo pipefail
cd "$(dirname "$0")"
root=../..
for target in decode envelope; do mkdir -p "corpus/$target"; done

# One event a file: every twentieth line, so that all kinds are among them.
awk -v dir=corpus/decode 'NR % 20 == 1 { name = dir "/line" NR; printf "%s", $0 > name; close(name) }' \
  "$root"/testdata/events/realcluster/audit.jsonl "$root"/testdata/events/apiserver/*.jsonl

# The first byte says the format: see the target.
shopt -s nullglob
for file in "$root"/testdata/envelopes/*.json "$root"/testdata/envelopes/*.log; do
  name=$(basename "$file")
  for format in _ E G A O L; do
    { printf %s "$format"; cat "$file"; } > "corpus/envelope/$format-$name"
  done
done
{ printf _; head -n 3 "$root"/testdata/events/apiserver/exec.jsonl; } > corpus/envelope/_lines
