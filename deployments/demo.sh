#!/usr/bin/env bash
# Starts the service and feeds it a recorded sample, so that a newcomer sees findings.
#   demo.sh PATH/TO/auditmill [serve's own arguments]
set -euo pipefail
binary=$1
shift
here=$(cd "$(dirname "$0")" && pwd)
samples=$here/../testdata/events/apiserver
data=$(mktemp -d)
log=$data/log
: > "$log"
trap 'kill "$service" 2>/dev/null; wait "$service" 2>/dev/null; rm -rf "$data"' EXIT

# Beside a service that has the usual ports.
export AUDITMILL_QUERY_POSTGRES_LISTEN=${AUDITMILL_QUERY_POSTGRES_LISTEN-127.0.0.1:0}
export AUDITMILL_QUERY_FLIGHT_LISTEN=${AUDITMILL_QUERY_FLIGHT_LISTEN-127.0.0.1:0}
"$binary" serve --data "$data" "$@" >/dev/null 2> >(tee "$log" >&2) &
service=$!
# The address is printed once the service listens; it may have been told to take any port.
until url=$(grep -oE 'http://[0-9.:]+' "$log" | head -1) && [ -n "$url" ]; do
  kill -0 "$service" 2>/dev/null || { echo 'error: the service did not start, see above' >&2; exit 1; }
  sleep 0.1
done
for sample in "$samples"/*.jsonl; do
  curl -sf -o /dev/null --data-binary "@$sample" "$url/v1/audit/demo"
done
until curl -sf "$url/metrics" | grep -q '^auditmill_pipeline_pending_records 0$'; do sleep 0.1; done

echo
echo "Findings in the recorded sample of cluster \`demo\`:"
curl -sf -H 'Accept: application/x-ndjson' "$url/v1/findings?limit=1000" |
  sed -E 's/.*"detection":"([^"]*)".*"severity":"([^"]*)".*"summary":"(([^"\\]|\\.)*)".*/  \2\t\1\t\3/' |
  sed 's/\\"/"/g' | sort | cut -c1-150
cat <<END

The service goes on at $url (Ctrl-C stops it). Try:
  curl -s $url/v1/findings
  curl -s $url/v1/sql -d '{"query": "SELECT user_name, verb, count(*) AS n FROM events GROUP BY 1, 2 ORDER BY n DESC LIMIT 5"}'
END
wait "$service"
