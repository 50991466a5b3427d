#!/usr/bin/env bash
# Sets up what the tests need beyond Rust and Go, each thing only when it is missing.
set -euo pipefail
cache=${AUDITMILL_CACHE:-$HOME/.cache/auditmill}
deny_version=0.20.2
fuzz_version=0.13.2

# Command and Debian package. libFuzzer is C++.
missing=()
for tool in cc:gcc c++:g++ curl:curl git:git; do
  command -v "${tool%:*}" >/dev/null || missing+=("${tool#*:}")
done
# For a real Kafka.
command -v java >/dev/null || missing+=(default-jre-headless)
command -v mvn >/dev/null || missing+=(maven)
# A client of PostgreSQL.
command -v psql >/dev/null || missing+=(postgresql-client)
if [ "${#missing[@]}" -gt 0 ]; then
  sudo=$([ "$(id -u)" = 0 ] || echo sudo)
  $sudo apt-get update -qq
  $sudo apt-get install -qq -y --no-install-recommends "${missing[@]}" ca-certificates libc6-dev
fi

# The module is there without the package; what makes an environment is not.
if ! python3 -c 'import ensurepip, venv' 2>/dev/null; then
  sudo=$([ "$(id -u)" = 0 ] || echo sudo)
  $sudo apt-get update -qq
  $sudo apt-get install -qq -y --no-install-recommends python3 python3-venv
fi

command -v go >/dev/null || { echo 'error: Go 1.26 is needed for the real API server' >&2; exit 1; }

command -v rustup >/dev/null || { echo 'error: rustup is needed for the compiler that fuzzing wants' >&2; exit 1; }

# Fuzzing: the compiler of a fixed date.
fuzz_toolchain=$(sed -n 's/^channel = "\(.*\)"/\1/p' "$(dirname "$0")/fuzz/rust-toolchain.toml")
if ! rustc "+$fuzz_toolchain" -V >/dev/null 2>&1; then
  rustup toolchain install "$fuzz_toolchain" --profile minimal --no-self-update
fi

# cargo-deny looks at licences, banned crates and sources of dependencies.
for tool in "cargo-deny $deny_version" "cargo-fuzz $fuzz_version"; do
  read -r name version <<< "$tool"
  if [ "$("$cache/bin/$name" --version 2>/dev/null)" != "$tool" ]; then
    mkdir -p "$cache/bin"
    CARGO_TARGET_DIR=$cache/tools cargo install --quiet --locked --debug --no-track --force \
      --root "$cache" --version "$version" "$name"
  fi
done
