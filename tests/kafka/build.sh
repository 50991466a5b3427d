#!/usr/bin/env bash
# Copies Apache Kafka from Maven into $AUDITMILL_CACHE/kafka, once per version (pom.xml). What is up
# to date costs nothing.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cache=${AUDITMILL_CACHE:-$HOME/.cache/auditmill}
lib=$cache/kafka
if cmp -s "$here/pom.xml" "$lib/pom.xml"; then
  exit 0
fi
rm -rf "$lib" "$lib.new"
mkdir -p "$lib.new"
mvn -q -B -f "$here/pom.xml" dependency:copy-dependencies -DoutputDirectory="$lib.new" \
  -DincludeScope=runtime
# Last, so that a copy that was interrupted is made again.
cp "$here/pom.xml" "$lib.new/pom.xml"
mv "$lib.new" "$lib"
