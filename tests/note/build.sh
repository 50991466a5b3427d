#!/usr/bin/env bash
# Builds the check of evidence by Go's signed notes into $AUDITMILL_CACHE/bin. The version of the
# module is pinned in go.mod. An up to date binary costs under 2 s.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cache=${AUDITMILL_CACHE:-$HOME/.cache/auditmill}
mkdir -p "$cache/bin"
export GOTOOLCHAIN=local CGO_ENABLED=0 GOFLAGS=-mod=readonly
export GOMODCACHE=$cache/go/mod GOCACHE=$cache/go/build

cd "$here"
go build -ldflags '-s -w' -o "$cache/bin/note" .
