#!/usr/bin/env bash
# Sets up other programs that read Delta tables or ask over Flight SQL: a Python environment in
# $AUDITMILL_CACHE/readers, and in its folder jars what Spark needs beside. Versions are pinned in
# requirements.txt and pom.xml. When they are there already, it costs nothing.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
readers=${AUDITMILL_CACHE:-$HOME/.cache/auditmill}/readers
cmp -s "$here/requirements.txt" "$readers/requirements.txt" && cmp -s "$here/pom.xml" "$readers/pom.xml" && exit 0
rm -rf "$readers"
python3 -m venv "$readers"
"$readers/bin/pip" install --quiet --disable-pip-version-check -r "$here/requirements.txt"
mvn -q -B -f "$here/pom.xml" dependency:copy-dependencies -DoutputDirectory="$readers/jars" \
  -DincludeScope=runtime
# Last, so that what was interrupted is done again.
cp "$here/pom.xml" "$here/requirements.txt" "$readers"
