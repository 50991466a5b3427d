#!/usr/bin/env bash
# Makes the seeds of each target, in a folder: from the repository's recordings, envelopes and
# detections, and what a journal may look like.
set -euo pipefail
seeds=$1
cd "$(dirname "$0")"
root=../..
mkdir -p "$seeds"/{decode,envelope,flight,front_matter,journal,postgres,proof}

# One event a file: every twentieth line, so that all kinds are among them.
awk -v dir="$seeds/decode" 'NR % 20 == 1 { name = dir "/line" NR; printf "%s", $0 > name; close(name) }' \
  "$root"/testdata/events/realcluster/audit.jsonl "$root"/testdata/events/apiserver/*.jsonl

# The first byte says the format: see the target.
shopt -s nullglob
for file in "$root"/testdata/envelopes/*.json "$root"/testdata/envelopes/*.log; do
  name=$(basename "$file")
  for format in _ E G A O L; do
    { printf %s "$format"; cat "$file"; } > "$seeds/envelope/$format-$name"
  done
done
{ printf _; head -n 3 "$root"/testdata/events/apiserver/exec.jsonl; } > "$seeds/envelope/_lines"

for file in "$root"/queries/detections/*/*.sql; do
  cp "$file" "$seeds/front_matter/$(basename "$file" .sql)"
done

# The first byte says what the rest is: see the target. Checksums are put right there.
segment() { printf 'auditmjl\1\0\0\0\0\0\0\0%b\0\0\0\0\0\0\0\5\0\0\0\0\0\0\0salt----' "$1"; }
record() { printf '\0\0\0\0\14\0\0\0\0\0\0\0\0\0\0\0time----\4\0\0\0\0\1\7\0delivery------\0\0cwebhookbody\0\0\0\0'; }
{ printf M; segment '\1'; record; record; } > "$seeds/journal/one"
{ printf M; segment '\2'; record; printf =====; segment '\1'; record; record; printf =====; } > "$seeds/journal/two"
{ printf _; segment '\1'; record; } > "$seeds/journal/raw"
# Records, a life's end (above \300) that forgets some, more; then four kinds of damage.
printf 'D\13\0\7\1\377\2\40\0\377\300\3\1\20\2\100\300\0\0\1\1\2' > "$seeds/journal/lives"
printf 'D\10\0\7\1\377\2\40\0\377\300\2\1\20\2\100\300\5\0\5\20\20\1\1\5\20\20\1' > "$seeds/journal/flips"
printf 'D\6\1\377\2\377\1\377\2\377\300\0\1\20\0\0\0\21\5' > "$seeds/journal/cut"
printf 'D\6\1\377\2\377\1\377\2\377\300\0\1\20\0\2\100\20\7\1\4\0\0\0' > "$seeds/journal/moved"

# The first byte is the message's kind, 0 for a first message.
printf '\0\0\3\0\0user\0ann\0database\0auditmill\0\0' > "$seeds/postgres/start"
printf '\0\4\322\26\57' > "$seeds/postgres/tls"
printf '\0\4\322\26\56\0\0\0\1abcd' > "$seeds/postgres/cancel"
printf 'QSELECT 1\0' > "$seeds/postgres/query"
printf 'Ps\0SELECT $1\0\0\1\0\0\0\31' > "$seeds/postgres/parse"
printf 'B\0s\0\0\1\0\1\0\2\377\377\377\377\0\0\0\2ab\0\1\0\1' > "$seeds/postgres/bind"
printf 'DPp\0' > "$seeds/postgres/describe"
printf 'Ep\0\0\0\0\5' > "$seeds/postgres/execute"
printf 'psecret\0' > "$seeds/postgres/password"
# The first byte says what the rest is: see the target.
hash=n4bQgYhMfWWaL+qgxVrQFaO/TxsrC4Is0V1sFbDwCgg=
file="{\"path\":\"a\",\"bytes\":7,\"sha256\":\"$hash\"}"
printf 'Nauditmill/x\n7\n%s\n\n\342\200\224 auditmill/x %s\n' "$hash" "$hash" > "$seeds/proof/note"
printf 'K%s' "auditmill/x+00000000+$hash" > "$seeds/proof/key"
printf 'S{"version":1,"at":"","what":{"kind":"began","files":["a"]}}\n{"version":2,"at":"","what":{"kind":"joined","files":["a"],"into":%s}}' "$file" > "$seeds/proof/joined"
printf 'S{"version":2,"at":"","what":{"kind":"came","position":1,"redaction":[],"segments":[{"id":"2.0","cluster":"c","day":"","rows":1,"redacted":0,"events":["",""],"root":"%s","file":%s}]}}' "$hash" "$file" > "$seeds/proof/came"
printf 'B{"format":1,"program":"","finding":{"evidence":[{"event_id":"e"}]},"key":"","checkpoint":"","leaves":[{"number":0,"statement":"","proof":["%s"]}],"events":[{"event_id":"e","leaf":0,"segment":"2.0","row":0,"content":{"event_id":"e","event_time":5},"proof":[]}],"missing":[]}' "$hash" > "$seeds/proof/bundle"
printf 'F{"size":1,"peaks":["%s"]}' "$hash" > "$seeds/proof/frontier"
# The first byte says what the rest is: see the target. A column of numbers and one of texts, as
# Arrow's own library writes them, as parameters and in a handle.
printf 'H\12\10SELECT 1' > "$seeds/flight/statement"
base64 -d <<< 'H4sIAAAAAAACA3VPwQ3DIAw8KAQU8eARVXlkiGaDjNBBOkBH6igdodvQs+WoFUpOMvbZ2D7fXwAqBCMKBkRkRoQL5CDLfIO9gKdtFn9aa/wYpX+2nLbSVuVBcxUT+wcknVhtn/Pil67vpjsLLelOSW9Wf3PLZHHB1dQWnYpLUA0zdoyMiyqXex52p8MPEefInT/L1z/tO3zHccBTV3uali+kwf/ukQEAAA==' | gunzip > "$seeds/flight/parameters"
base64 -d <<< 'H4sIAAAAAAACA/Pg4gx29XF1DlFQMRRazSi0glGAAQS4GHgY2BhYGTiALCBgZAHyGYA8DiDJAiUZGJiA2AHKvvH//3+gQlaQfgmoGFgrEBuC+SxgMQEGEaB+NgZ2sIkCDBD7GJlAtAyaPgOwnTxAzA62EyTsAJUXesYodIJRBMrjYRCDupcHbC4DMwvYFRIMMMAFZPOA3Q7yUQ7YbogtMMDKgBtwoNG4xAWQXA8DTGh8Biz8Q3YS7GjSFVDnAADgGUKUowEAAA==' | gunzip > "$seeds/flight/handle"
