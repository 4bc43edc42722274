#!/usr/bin/env bash
# What a newcomer does, in a clone of his own, and what then goes wrong:
#   tests/acceptance/new_user.sh [USER]
# USER (root only): do it as this unprivileged user, with a home of mode 0700.
set -euo pipefail

source_dir=$(cd "$(dirname "$0")/../.." && pwd)
as_user=()
if [ -n "${1:-}" ]; then
    id "$1" >/dev/null 2>&1 || useradd --create-home "$1"
    home=$(getent passwd "$1" | cut -d: -f6)
    chmod 0700 "$home"
    # Debian's own Python: another one may lie in a folder that this user cannot enter.
    as_user=(runuser -u "$1" -- env "HOME=$home" PATH=/usr/bin:/bin)
else
    home=$(mktemp -d)
    chmod 0700 "$home"
fi
clone=$home/casedb-new-user
rm -rf "$clone"
git clone --quiet --no-local "$source_dir" "$clone"
[ -z "${1:-}" ] || chown -R "$1": "$clone"
cd "$clone"
trap 'run .venv/bin/casedb down >/dev/null 2>&1 || true; rm -rf "$clone"' EXIT

run() { "${as_user[@]}" "$@"; }
casedb() { run .venv/bin/casedb "$@"; }
say() { printf -- '-- %s\n' "$*"; }
fail() { printf 'FAILED: %s\n' "$*" >&2; exit 1; }

# expect CODE WORDS... : the command ends with CODE, with one clear error and no traceback.
expect() {
    local wanted=$1 code=0
    shift
    "$@" >"$home/out" 2>&1 || code=$?
    cat "$home/out"
    [ "$code" = "$wanted" ] || fail "exit code $code instead of $wanted: $*"
    ! grep -q Traceback "$home/out" || fail "a traceback: $*"
    if [ "$wanted" != 0 ]; then
        grep -q '^HINT:' "$home/out" || fail "no hint: $*"
    fi
}

say "make up, twice"
run make up
begin=$(date +%s)
run make up | tee "$home/again"
[ $(($(date +%s) - begin)) -le 15 ] || fail "the second make up took longer than 15 seconds"
grep -q 'already running' "$home/again" || fail "the second make up did not find the server"

say "the daily commands"
expect 0 casedb status
expect 0 casedb dump
casedb drill latest --json | tee "$home/drill.json"
grep -q '"outcome": "passed"' "$home/drill.json" || fail "the drill did not pass"
expect 0 casedb backups
expect 0 casedb rotate
expect 0 casedb access
expect 0 casedb audit verify
expect 0 casedb check schema
expect 0 casedb query my_open_cases --as clerk@example.com
expect 0 casedb restore latest --into copy
expect 7 casedb restore latest --into copy
expect 0 casedb restore latest --plan
expect 0 casedb restore latest --confirm case_management
expect 0 casedb undo-restore
expect 0 casedb shell --psql --login postgres -- -c 'DROP DATABASE copy'
expect 0 casedb shell --psql -- -Atc 'SELECT count(*) FROM cases'
grep -qx 1 "$home/out" || fail "the sample case is not there"

say "a killed dump leaves nothing that looks whole"
before=$(casedb backups --json | grep -c '"label"')
casedb shell --psql --login postgres -- -c \
    "CREATE TABLE ballast AS SELECT n, repeat(md5(n::text), 20) AS filler FROM generate_series(1, 300000) AS n" >/dev/null
casedb dump >/dev/null 2>&1 &
dump=$!
for _ in $(seq 100); do
    partial=$(find .casedb/backups -name '.partial-*' 2>/dev/null | head -n 1)
    [ -z "$partial" ] || break
    sleep 0.05
done
[ -n "$partial" ] || fail "the dump was over before it could be killed"
pkill -KILL -f "$clone/.venv/bin/casedb dump" || pkill -KILL -f '\.venv/bin/casedb dump'
wait "$dump" || true
[ "$(casedb backups --json | grep -c '"label"')" = "$before" ] || fail "a killed dump shows as a backup"
expect 0 casedb dump
[ -z "$(find .casedb/backups -name '.partial-*')" ] || fail "the partial backup was not swept"

say "a flipped byte is found, and the file named"
file=$(find .casedb/backups/case_management -name database.dump.zst | sort | tail -n 1)
run python3 - "$file" <<'E2'
import os, sys
path = sys.argv[1]
os.chmod(path, 0o600)
with open(path, "r+b") as file:
    file.seek(1000)
    byte = file.read(1)
    file.seek(1000)
    file.write(bytes([byte[0] ^ 1]))
E2
expect 6 casedb verify latest
grep -q 'database.dump.zst' "$home/out" || fail "the damaged file is not named"
expect 6 casedb verify latest

say "without its server"
run make down
expect 4 casedb dump
expect 4 casedb shell
grep -q 'casedb up' "$home/out" || fail "the hint does not say how to start the server"

say "killed, and started again"
run make up >/dev/null
kill -KILL "$(casedb server status --json | sed -n 's/.*"pid": \([0-9]*\).*/\1/p')"
sleep 1
run make up | grep 'stale postmaster.pid'
expect 0 casedb reset --confirm case_management

say "all well as $(run id -un)"
