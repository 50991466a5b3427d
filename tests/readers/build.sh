#!/usr/bin/env bash
# Sets up other programs that read Delta tables, as a Python environment in $AUDITMILL_CACHE/readers.
# Versions are pinned in requirements.txt. When they are there already, it costs nothing.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
readers=${AUDITMILL_CACHE:-$HOME/.cache/auditmill}/readers
cmp -s "$here/requirements.txt" "$readers/requirements.txt" && exit 0
rm -rf "$readers"
python3 -m venv "$readers"
"$readers/bin/pip" install --quiet --disable-pip-version-check -r "$here/requirements.txt"
cp "$here/requirements.txt" "$readers/requirements.txt"
