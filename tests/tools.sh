#!/usr/bin/env bash
# Sets up what the tests need beyond Rust and Go, each thing only when it is missing.
set -euo pipefail
cache=${AUDITMILL_CACHE:-$HOME/.cache/auditmill}
deny_version=0.20.2

missing=()
for tool in cc curl git; do
  command -v "$tool" >/dev/null || missing+=("${tool/#cc/gcc}")
done
# For a real Kafka.
command -v java >/dev/null || missing+=(default-jre-headless)
command -v mvn >/dev/null || missing+=(maven)
if [ "${#missing[@]}" -gt 0 ]; then
  sudo=$([ "$(id -u)" = 0 ] || echo sudo)
  $sudo apt-get update -qq
  $sudo apt-get install -qq -y --no-install-recommends "${missing[@]}" ca-certificates libc6-dev
fi

command -v go >/dev/null || { echo 'error: Go 1.26 is needed for the real API server' >&2; exit 1; }

# Licences, banned crates and sources of dependencies.
if [ "$("$cache/bin/cargo-deny" --version 2>/dev/null)" != "cargo-deny $deny_version" ]; then
  mkdir -p "$cache/bin"
  CARGO_TARGET_DIR=$cache/tools cargo install --quiet --locked --debug --no-track --force \
    --root "$cache" --version "$deny_version" cargo-deny
fi
