#!/usr/bin/env bash
# The wheel works on its own: it carries the SQL, and needs nothing of the checkout.
set -euo pipefail

source_dir=$(cd "$(dirname "$0")/../.." && pwd)
folder=$(mktemp -d)
trap 'cd "$folder" && venv/bin/casedb down >/dev/null 2>&1 || true; rm -rf "$folder"' EXIT

cd "$source_dir"
.venv/bin/pip wheel --quiet --no-deps --no-build-isolation --no-index --wheel-dir "$folder" .
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --require-hashes -r requirements/run.txt
"$folder/venv/bin/pip" install --quiet --no-deps --no-index "$folder"/casedb-*.whl

cd "$folder"
venv/bin/casedb --help
CASEDB_PG_MAJOR=18 venv/bin/casedb up
venv/bin/casedb status
venv/bin/casedb dump
venv/bin/casedb drill latest
# What a migration would do is said in full where nothing but the wheel is: the linter comes with it.
said=$(venv/bin/casedb migrate check 2>&1)
printf '%s\n' "$said"
case $said in *squawk*) exit 1 ;; esac
