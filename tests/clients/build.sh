#!/usr/bin/env bash
# Copies a JDBC driver for PostgreSQL from Maven into $AUDITMILL_CACHE/jdbc, once per version
# (pom.xml). What is up to date costs nothing.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
jdbc=${AUDITMILL_CACHE:-$HOME/.cache/auditmill}/jdbc
cmp -s "$here/pom.xml" "$jdbc/pom.xml" && exit 0
rm -rf "$jdbc" "$jdbc.new"
mkdir -p "$jdbc.new"
mvn -q -B -f "$here/pom.xml" dependency:copy-dependencies -DoutputDirectory="$jdbc.new" \
  -DincludeScope=runtime
# Last, so that a copy that was interrupted is made again.
cp "$here/pom.xml" "$jdbc.new/pom.xml"
mv "$jdbc.new" "$jdbc"
